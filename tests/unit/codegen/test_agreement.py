"""The schemas and protovalidate agree on every request."""

from collections.abc import Callable
from typing import Any

import protovalidate
import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator

from codegen.openapi.kinds import Schema
from tests.unit.codegen.compiled import class_of, declared, message_schema

_ENUM = "enum E { E_UNSPECIFIED = 0; E_A = 1; E_B = 2; }"
_INTEGERS = st.one_of(st.integers(-20, 20), st.integers(-(2**64), 2**64))
_WIDE = st.one_of(_INTEGERS, _INTEGERS.map(str))
_TEXTS = st.text("ab.-0Zé@\x1f😀", max_size=8)
_BYTES = st.sampled_from(["", "YQ==", "YQ", "YWI=", "-_8", "+/8=", "YWJj", "YWJjZA==", "MTIzNDU2Nzg5MDEyMzQ1Ng=="])
_LISTS = st.lists(st.integers(0, 3), max_size=4)
_MAPS = st.dictionaries(st.sampled_from(["1", "2", "30"]), st.text("ab", max_size=2), max_size=3)
_EMAILS = st.sampled_from(["a@b", "a@b.c", "a b@c", "@b", "a..b@c", '"a"@b', "a@-b", "a@b-.c", "", "a@b..c"])
_UUIDS = st.sampled_from(
    [
        "",
        "2f1c0bd4-11aa-4e4c-8f00-0123456789ab",
        "2F1C0BD4-11AA-4E4C-8F00-0123456789AB",
        "2f1c0bd411aa4e4c8f000123456789ab",
    ]
)

_CASES: list[tuple[str, st.SearchStrategy[Any]]] = [
    ("uint32 f = 1 [(buf.validate.field).uint32.gt = 0];", _INTEGERS),
    ("uint32 f = 1 [(buf.validate.field).uint32 = {gte: 1, lte: 65535}];", _INTEGERS),
    ("sint32 f = 1 [(buf.validate.field).sint32 = {gt: 10, lt: -5}];", _INTEGERS),
    ("int64 f = 1 [(buf.validate.field).int64.gt = 0];", _WIDE),
    ("fixed64 f = 1 [(buf.validate.field).fixed64 = {not_in: [0, 7], lt: 15}];", _WIDE),
    ("uint64 f = 1 [(buf.validate.field).uint64 = {in: [0, 7]}];", _WIDE),
    ("optional int64 f = 1 [(buf.validate.field).int64 = {gte: 10, lte: -10}];", _WIDE),
    ("int64 f = 1 [(buf.validate.field) = {ignore: IGNORE_IF_ZERO_VALUE, int64: {gt: 5}}];", _WIDE),
    (
        "double f = 1 [(buf.validate.field).double = {gt: -1.5, lte: 10}];",
        st.one_of(st.integers(-5, 15), st.floats(-5, 15), st.sampled_from(["NaN", "Infinity", "-Infinity"])),
    ),
    ("float f = 1 [(buf.validate.field).float = {gt: 5, lt: 1}];", st.sampled_from([0, 3, 6.5, "NaN", "-Infinity"])),
    ("string f = 1 [(buf.validate.field).string = {min_len: 2, max_len: 4}];", _TEXTS),
    ('string f = 1 [(buf.validate.field).string = {prefix: "a.", suffix: "b"}];', _TEXTS),
    ('string f = 1 [(buf.validate.field).string = {contains: ".", not_contains: "-"}];', _TEXTS),
    ('string f = 1 [(buf.validate.field).string.pattern = "^[[:alpha:]]*\\\\.?$"];', _TEXTS),
    ('string f = 1 [(buf.validate.field).string = {not_in: ["", "a"]}];', _TEXTS),
    ("string f = 1 [(buf.validate.field).string.well_known_regex = KNOWN_REGEX_HTTP_HEADER_NAME];", _TEXTS),
    ("string f = 1 [(buf.validate.field).string.email = true];", _EMAILS),
    ("optional string f = 1 [(buf.validate.field).string.uuid = true];", _UUIDS),
    ("bytes f = 1 [(buf.validate.field).bytes = {min_len: 2, max_len: 3}];", _BYTES),
    ("bytes f = 1 [(buf.validate.field).bytes.uuid = true];", _BYTES),
    ('bytes f = 1 [(buf.validate.field).bytes = {in: ["a", "ab"]}];', _BYTES),
    ("E f = 1 [(buf.validate.field).enum = {not_in: [0]}];", st.sampled_from(["E_A", "E_UNSPECIFIED", 0, 2, 9])),
    ("E f = 1 [(buf.validate.field).enum.defined_only = true];", st.sampled_from(["E_B", "E_X", 0, 2, 9])),
    ("E f = 1 [(buf.validate.field).enum = {in: [1, 9]}];", st.sampled_from(["E_A", "E_B", 0, 1, 9, 10])),
    ("repeated uint32 f = 1 [(buf.validate.field).repeated = {min_items: 1, max_items: 3, unique: true}];", _LISTS),
    ("repeated uint32 f = 1 [(buf.validate.field).repeated.items.uint32.gt = 0];", _LISTS),
    ("repeated uint32 f = 1 [(buf.validate.field).required = true];", _LISTS),
    ("map<int32, string> f = 1 [(buf.validate.field).map = {min_pairs: 1, keys: {int32: {lt: 9}}}];", _MAPS),
    ("map<string, string> f = 1 [(buf.validate.field).map.values.string.min_len = 1];", _MAPS),
    ("google.protobuf.Int64Value f = 1 [(buf.validate.field).int64.gt = 5];", _WIDE),
]


def _judge(source: str) -> Callable[[dict[str, Any]], bool]:
    """Whether protobuf reads an instance and protovalidate finds nothing wrong with it."""
    message_class = class_of(source)
    # Not the common one: a validator knows messages by their names, and all have one name here.
    validator = protovalidate.Validator()

    def is_valid(instance: dict[str, Any]) -> bool:
        try:
            message = json_format.ParseDict(instance, message_class())
        except json_format.ParseError:
            return False
        return not validator.collect_violations(message)

    return is_valid


@pytest.mark.parametrize(("field", "values"), _CASES, ids=[field for field, _ in _CASES])
def test_a_request_fits_the_schema_exactly_when_protovalidate_accepts_it(
    field: str, values: st.SearchStrategy[Any]
) -> None:
    source = declared(field, _ENUM)
    schema: Schema = message_schema(source)
    validator: Any = OAS31Validator(schema)
    is_valid = _judge(source)

    @settings(max_examples=100, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.just({}), st.fixed_dictionaries({"f": st.one_of(st.none(), values)})))
    def agree(instance: dict[str, Any]) -> None:
        assert validator.is_valid(instance) == is_valid(instance)

    agree()


@pytest.mark.parametrize(
    ("field", "instance"),
    [
        ("string f = 1 [(buf.validate.field).string.len_bytes = 5];", "aaaa"),
        ("string f = 1 [(buf.validate.field).string.max_bytes = 5];", "ééé"),
        ("string f = 1 [(buf.validate.field).string.host_and_port = true];", "a"),
        (
            "google.protobuf.Duration f = 1 [(buf.validate.field).duration = {gt: {seconds: 1}, lte: {seconds: 5}}];",
            "9s",
        ),
        (
            "google.protobuf.Duration f = 1 [(buf.validate.field).duration = {gt: {seconds: 5}, lt: {seconds: 1}}];",
            "3s",
        ),
        ("google.protobuf.Timestamp f = 1 [(buf.validate.field).timestamp.lt_now = true];", "2999-01-01T00:00:00Z"),
        ("google.protobuf.FieldMask f = 1 [(buf.validate.field).field_mask = {not_in: ['a']}];", "a"),
        ("repeated int64 f = 1 [(buf.validate.field).repeated.unique = true];", ["1", 1]),
        ("bytes f = 1 [(buf.validate.field).bytes.prefix = 'ab'];", "YQ=="),
        ('int32 f = 1 [(buf.validate.field).cel = {id: "odd", message: "odd", expression: "this % 2 == 1"}];', 2),
        ('int32 f = 1 [(buf.validate.field).cel_expression = "this % 2 == 1"];', 2),
    ],
)
def test_a_request_that_fits_the_schema_breaks_only_rules_that_the_schema_names(field: str, instance: object) -> None:
    schema = message_schema(declared(field))
    assert OAS31Validator(schema).is_valid({"f": instance})
    message = json_format.ParseDict({"f": instance}, class_of(declared(field))())
    broken: list[Any] = protovalidate.Validator().collect_violations(message)
    assert [violation.proto.rule_id for violation in broken] == schema["properties"]["f"]["x-buf-validate"]
