"""A body has an example as soon as every field that it needs has one."""

from typing import Any

import pytest

from codegen.openapi.examples import example
from tests.unit.codegen.compiled import message_schema

_ITEM = "message I { uint32 sku = 1 [(buf.validate.field).uint32 = {gt: 0, example: [5, 6]}]; }"


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ("int64 a = 1 [(buf.validate.field).int64 = {gt: 0, example: 7}];", {"a": "7"}),
        ("int64 a = 1 [(buf.validate.field).int64.gt = 0];", None),
        ("uint32 a = 1;", None),
        ("uint32 a = 1; uint32 b = 2 [(buf.validate.field).uint32.example = 3];", {"b": 3}),
        ("repeated I items = 1 [(buf.validate.field).repeated.min_items = 1];", {"items": [{"sku": 5}]}),
        ("repeated I items = 1;", None),
        ("I item = 1 [(buf.validate.field).required = true];", {"item": {"sku": 5}}),
    ],
)
def test_an_example_is_made_of_those_of_the_fields(fields: str, wanted: Any) -> None:
    schema = message_schema(f"{_ITEM} message M {{ {fields} }}")
    assert example(schema, schema["components"]["schemas"]) == wanted


def test_a_message_that_may_hold_itself_has_one_too() -> None:
    source = "message M { repeated M more = 1; uint32 b = 2 [(buf.validate.field).uint32.example = 3]; }"
    schema = message_schema(source)
    assert example(schema, schema["components"]["schemas"]) == {"b": 3}
