"""No rule of our contract is lost: the document shows each of them, or names it in `x-buf-validate`.

The descriptors are walked here a second time, with a table of its own.
"""

import copy
import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from codegen.descriptors import Contract, is_map, rules_set
from codegen.openapi.bindings import Binding, bindings
from codegen.openapi.document import document
from tests.unit.codegen.compiled import ROOT, compiled

_Shown = Callable[[Any, Any], bool]


def _limit(keyword: str, step: int = 0) -> _Shown:
    """A limit is in the pattern of what may be text, and a number beside what may be a number."""

    def shown(schema: Any, setting: Any) -> bool:
        text = "string" not in schema["type"] or "pattern" in schema
        return text and (schema["type"] == "string" or schema.get(keyword) == setting + step)

    return shown


def _has(keyword: str) -> _Shown:
    return lambda schema, setting: schema.get(keyword) == setting


_SHOWN: dict[str, _Shown] = {
    "gt": _limit("minimum", 1),
    "gte": _limit("minimum"),
    "lt": _limit("maximum", -1),
    "lte": _limit("maximum"),
    "min_len": _has("minLength"),
    "uuid": lambda schema, _: "[0-9a-fA-F]{12}$" in schema.get("pattern", ""),
    "in": lambda schema, setting: schema.get("enum") == list(setting),
    "min_items": _has("minItems"),
    "max_items": _has("maxItems"),
    "example": lambda schema, setting: [int(each) for each in schema.get("examples", [])] == list(setting),
}


@cache
def _contract() -> Contract:
    api = ROOT / "api"
    return Contract(compiled(sorted(path.relative_to(api).as_posix() for path in api.rglob("*.proto"))))


def _lost(found: Any) -> list[str]:
    """The rules that a document neither shows nor names."""
    return [lost for binding in bindings(_contract()) for lost in _of_binding(found, binding)]


def _of_binding(found: Any, binding: Binding) -> Iterator[str]:
    operation = found["paths"][binding.path][binding.verb]
    parameters = {each["name"]: each for each in operation.get("parameters", [])}
    for field in (*binding.path_fields, *binding.query_fields):
        parameter = parameters[field.json_name]
        if _is_needed(field) and not parameter["required"]:
            yield f"{field.full_name}: required"
        yield from _of_field(found, field, parameter["schema"])
    if binding.has_body:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        yield from _of_fields(found, binding.body_fields, schema)
    success = next(response for status, response in operation["responses"].items() if status.startswith("2"))
    if "content" in success:
        yield from _of_message(found, binding.response, success["content"]["application/json"]["schema"])


def _of_message(found: Any, message: Descriptor, schema: Any) -> Iterator[str]:
    assert _contract().message_rules(message) is None, f"{message.full_name} has rules that nobody looks for here"
    yield from _of_fields(found, message.fields, schema)


def _of_fields(found: Any, fields: Any, schema: Any) -> Iterator[str]:
    schema = _resolved(found, schema)
    for field in fields:
        if _is_needed(field) and field.json_name not in schema.get("required", []):
            yield f"{field.full_name}: required"
        yield from _of_field(found, field, schema["properties"][field.json_name])


def _of_field(found: Any, field: FieldDescriptor, schema: Any) -> Iterator[str]:
    assert not is_map(field)
    rules = _contract().field_rules(field)
    for rule, setting in rules_set(rules):
        if rule.name == "required":
            continue  # looked for where the fields of the message are
        for one, value in rules_set(setting):
            yield from _of_rule(field, schema, one, value)
    if field.message_type is not None and field.message_type.full_name.startswith("marketplace."):
        yield from _of_message(found, field.message_type, schema.get("items", schema))


def _of_rule(field: FieldDescriptor, schema: Any, rule: FieldDescriptor, setting: Any) -> Iterator[str]:
    if rule.name == "items":
        for _, kind in rules_set(setting):
            for one, value in rules_set(kind):
                yield from _of_rule(field, schema["items"], one, value)
        return
    named = any(each.endswith(rule.name) for each in schema.get("x-buf-validate", []))
    if not named and not (rule.name in _SHOWN and _SHOWN[rule.name](schema, setting)):
        yield f"{field.full_name}: {rule.name}"


def _is_needed(field: FieldDescriptor) -> bool:
    assert field.containing_type
    return field.name in _contract().fields_required(field.containing_type)


def _resolved(found: Any, schema: Any) -> Any:
    return found["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def test_every_rule_of_our_contract_is_in_our_document_or_named_there() -> None:
    assert _lost(document(_contract())) == []


def test_the_document_that_is_served_is_the_one_that_is_looked_through() -> None:
    assert json.loads((ROOT / "gen/openapi/openapi.json").read_text()) == document(_contract())


def test_every_message_with_rules_is_of_an_rpc_or_of_an_event() -> None:
    """The document has no events; those that it does not reach are in gen/asyncapi."""
    reached: set[str] = set()
    for service in _contract().services():
        for method in service.methods:
            _reach(method.input_type, reached)
            _reach(method.output_type, reached)
    for event in _contract().events():
        _reach(event, reached)
        if headers := _contract().event(event).headers:
            _reach(_contract().message(headers), reached)
    assert {message.full_name for message in _messages() if _has_rules(message)} <= reached


def _messages() -> Iterator[Descriptor]:
    files = {method.file.name: method.file for service in _contract().services() for method in [service]}
    files |= {event.file.name: event.file for event in _contract().events()}
    for file in files.values():
        yield from file.message_types_by_name.values()


def _has_rules(message: Descriptor) -> bool:
    return any(_contract().field_rules(field) is not None for field in message.fields)


def _reach(message: Descriptor, reached: set[str]) -> None:
    if message.full_name not in reached:
        reached.add(message.full_name)
        for field in message.fields:
            if field.message_type is not None:
                _reach(field.message_type, reached)


@pytest.mark.parametrize(
    ("keyword", "rules"),
    [
        ("minimum", {"gt", "gte"}),
        ("maximum", {"lte"}),
        ("minLength", {"min_len"}),
        ("pattern", {"gt", "uuid"}),
        ("enum", {"in"}),
        ("minItems", {"min_items"}),
        ("maxItems", {"max_items"}),
        ("required", {"required"}),
        ("examples", {"example"}),
    ],
)
def test_a_mapping_that_is_lost_is_found(keyword: str, rules: set[str]) -> None:
    """The negative control: a document without a kind of rule lacks just that kind."""
    found = copy.deepcopy(document(_contract()))
    _take(found, keyword)
    assert rules <= {lost.rpartition(" ")[2] for lost in _lost(found)} <= {*rules, "gt", "gte", "lte"}


def _take(value: Any, keyword: str) -> None:
    if isinstance(value, dict):
        if keyword == "required" and isinstance(value.get(keyword), bool):
            value[keyword] = False
        elif keyword != "examples" or isinstance(value.get(keyword), list):
            value.pop(keyword, None)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _take(part, keyword)
