"""Examples of whole bodies, put together from those of the fields."""

from collections.abc import Mapping
from typing import Any

from codegen.openapi.kinds import Schema

_NONE = object()


def example(schema: Schema, components: Mapping[str, Schema]) -> Any:
    """An example of a message that keeps its rules, or None where a field that it needs has none."""
    found = _of(schema, components)
    return None if found is _NONE else found


def _of(schema: Schema, components: Mapping[str, Schema]) -> Any:
    if "$ref" in schema:
        return _of(components[schema["$ref"].rpartition("/")[2]], components)
    if "examples" in schema:
        return schema["examples"][0]
    if schema.get("type") == "array":
        item = _of(schema["items"], components)
        return _NONE if item is _NONE else [item]
    return _of_object(schema, components) if "properties" in schema else _NONE


def _of_object(schema: Schema, components: Mapping[str, Schema]) -> Any:
    """Every field that is needed, and of the others those with an example of their own."""
    needed = schema.get("required", [])
    fields = {
        name: _of(field, components)
        for name, field in schema["properties"].items()
        if name in needed or "examples" in field
    }
    return fields if fields and _NONE not in fields.values() else _NONE
