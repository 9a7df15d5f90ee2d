"""Each kind of rule: what becomes of it in JSON Schema."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from codegen.descriptors import ContractError
from codegen.openapi.kinds import Place
from tests.unit.codegen.compiled import ROOT, field_schema, message_schema

BODY, RESPONSE, PARAMETER = Place.BODY, Place.RESPONSE, Place.PARAMETER
_ENUM = "enum E { E_UNSPECIFIED = 0; E_A = 1; E_B = 2; }"
_UINT32 = {"type": "integer", "format": "uint32", "minimum": 1, "maximum": 2**32 - 1}


def _rule(type_name: str, rule: str, place: Place = RESPONSE, more: str = "") -> Any:
    """The schema of a field with one rule. In an answer, where nothing adds null."""
    return field_schema(f"{type_name} f = 1 [(buf.validate.field).{rule}];", place, more)


def _part(type_name: str, rule: str, place: Place = RESPONSE) -> dict[str, Any]:
    """The same without its type and what else every value of the type has."""
    plain = field_schema(f"{type_name} f = 1;", place)
    ruled = _rule(type_name, rule, place)
    return {key: value for key, value in ruled.items() if plain.get(key) != value and key != "type"}


@pytest.mark.parametrize("place", [BODY, PARAMETER, RESPONSE])
def test_a_32_bit_integer_is_a_json_integer_everywhere_in_its_range(place: Place) -> None:
    assert _rule("uint32", "uint32.gt = 0", place) == _UINT32
    assert _rule("int32", "int32 = {gte: 1, lt: 10}", place) == {**_UINT32, "format": "int32", "maximum": 9}


def test_a_64_bit_integer_is_a_number_or_a_decimal_string_in_a_body() -> None:
    assert _rule("int64", "int64 = {gte: 5, lte: 17}", BODY) == {
        "type": ["string", "integer"],
        "pattern": "^(?:[5-9]|1[0-7])$",
        "minimum": 5,
        "maximum": 17,
    }


def test_a_64_bit_integer_is_a_decimal_string_in_an_answer_and_an_integer_in_a_parameter() -> None:
    assert _rule("int64", "int64 = {gte: 5, lte: 17}") == {"type": "string", "pattern": "^(?:[5-9]|1[0-7])$"}
    assert _rule("int64", "int64 = {gte: 5, lte: 17}", PARAMETER) == {
        "type": "integer",
        "format": "int64",
        "minimum": 5,
        "maximum": 17,
    }


def test_limits_whose_lower_end_is_above_the_upper_mean_what_is_outside() -> None:
    assert _rule("int32", "int32 = {gt: 10, lt: -5}")["anyOf"] == [
        {"minimum": -(2**31), "maximum": -6},
        {"minimum": 11, "maximum": 2**31 - 1},
    ]
    assert _rule("sint64", "sint64 = {gte: 9223372036854775807, lte: -9223372036854775808}") == {
        "type": "string",
        "pattern": "^(?:-9223372036854775808|9223372036854775807)$",
    }


def test_limits_that_no_integer_keeps_are_an_error_of_the_contract() -> None:
    with pytest.raises(ContractError, match=r"test\.v1\.M\.f: no int32 keeps its limits"):
        _rule("int32", "int32 = {gt: 5, lt: 6}")


@pytest.mark.parametrize(
    ("type_name", "rule", "place", "expected"),
    [
        ("uint32", "uint32.const = 5", BODY, {"const": 5}),
        ("uint64", "uint64.const = 5", BODY, {"enum": ["5", 5]}),
        ("uint64", "uint64.const = 5", RESPONSE, {"const": "5"}),
        ("fixed64", "fixed64 = {in: [1, 2]}", BODY, {"enum": ["1", 1, "2", 2]}),
        ("fixed64", "fixed64 = {in: [1, 2]}", PARAMETER, {"enum": [1, 2]}),
        ("sfixed32", "sfixed32 = {in: [1, 2]}", RESPONSE, {"enum": [1, 2]}),
        ("int32", "int32 = {not_in: [1, 2]}", RESPONSE, {"not": {"enum": [1, 2]}}),
        ("string", 'string.const = "a"', RESPONSE, {"const": "a"}),
        ("string", 'string = {in: ["a", "b"]}', RESPONSE, {"enum": ["a", "b"]}),
        ("string", 'string = {not_in: ["a"]}', RESPONSE, {"not": {"enum": ["a"]}}),
        ("bool", "bool.const = true", RESPONSE, {"const": True}),
        ("bytes", 'bytes.const = "\\xfb"', BODY, {"enum": ["+w==", "-w==", "+w", "-w"]}),
        ("bytes", 'bytes = {in: ["a"]}', RESPONSE, {"enum": ["YQ=="]}),
        ("float", "float = {in: [0.1, 2]}", RESPONSE, {"enum": [0.1, 2]}),
    ],
)
def test_const_in_and_not_in_list_every_spelling(type_name: str, rule: str, place: Place, expected: object) -> None:
    assert _part(type_name, rule, place) == expected


def test_a_float_is_a_number_in_its_range_or_a_name_where_the_rules_allow_it() -> None:
    most = 3.4028234663852886e38
    number = {"type": "number", "minimum": -most, "maximum": most}
    assert field_schema("float f = 1;", RESPONSE) == {
        "anyOf": [number, {"enum": ["NaN", "Infinity", "-Infinity"]}],
    }
    assert _rule("float", "float.finite = true") == number
    assert _rule("float", "float.gt = 0.1") == {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0.1, "maximum": most}, {"enum": ["Infinity"]}]
    }
    assert _rule("double", "double = {gte: 0, lte: 1.5}") == {"type": "number", "minimum": 0, "maximum": 1.5}
    assert _rule("double", "double = {gt: 2, lt: 1, finite: true}")["anyOf"][1]["exclusiveMinimum"] == 2


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("len = 3", {"minLength": 3, "maxLength": 3}),
        ("min_len = 3", {"minLength": 3}),
        ("max_len = 3", {"maxLength": 3}),
        ('pattern = "^[[:digit:]]+$"', {"pattern": "^[0-9]+$"}),
        ('prefix = "a.b"', {"pattern": r"^a\.b"}),
        ('suffix = "a.b"', {"pattern": r"a\.b$"}),
        ('contains = "a.b"', {"pattern": r"a\.b"}),
        ('not_contains = "a.b"', {"not": {"pattern": r"a\.b"}}),
        ("tuuid = true", {"pattern": "^[0-9a-fA-F]{32}$"}),
        ("ulid = true", {"pattern": "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$"}),
        ("email = false", {}),
        ("well_known_regex = KNOWN_REGEX_HTTP_HEADER_VALUE", {"pattern": r"^[^\x00-\x08\x0A-\x1F\x7F]*$"}),
    ],
)
def test_a_rule_of_a_string_is_a_keyword(rule: str, expected: object) -> None:
    assert _part("string", f"string.{rule}") == expected


def test_a_uuid_has_a_format_and_the_pattern_that_is_enforced() -> None:
    assert _part("string", "string.uuid = true") == {
        "format": "uuid",
        "pattern": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
    }


def test_an_email_is_a_pattern_and_no_format() -> None:
    assert _part("string", "string.email = true").keys() == {"pattern"}


def test_two_rules_that_need_the_same_keyword_both_hold() -> None:
    assert _part("string", 'string = {prefix: "a", suffix: "b"}') == {"pattern": "^a", "allOf": [{"pattern": "b$"}]}


def test_headers_that_are_not_strict_refuse_the_ends_of_lines_only() -> None:
    rule = "string = {well_known_regex: KNOWN_REGEX_HTTP_HEADER_NAME, strict: false}"
    assert _part("string", rule) == {"pattern": r"^[^\x00\n\r]+$"}


@pytest.mark.parametrize(
    ("type_name", "rule", "ids", "expected"),
    [
        ("string", "string.len_bytes = 5", ["string.len_bytes"], {"minLength": 2, "maxLength": 5}),
        ("string", "string.min_bytes = 5", ["string.min_bytes"], {"minLength": 2}),
        ("string", "string.max_bytes = 5", ["string.max_bytes"], {"maxLength": 5}),
        ("string", "string.hostname = true", ["string.hostname"], {"format": "hostname", "minLength": 1}),
        ("string", "string.ipv6 = true", ["string.ipv6"], {"format": "ipv6", "minLength": 1}),
        ("string", "string.uri_ref = true", ["string.uri_ref"], {"format": "uri-reference"}),
        ("string", "string.host_and_port = true", ["string.host_and_port"], {"minLength": 1}),
        ("string", "string.ipv4_prefix = true", ["string.ipv4_prefix"], {"minLength": 1}),
        ("string", 'string.pattern = "(?i)a"', ["string.pattern"], {}),
        ("bytes", 'bytes.prefix = "a"', ["bytes.prefix"], {}),
        ("google.protobuf.Timestamp", "timestamp.lt_now = true", ["timestamp.lt_now"], {}),
        ("google.protobuf.Timestamp", "timestamp = {gt_now: true, within: {seconds: 5}}", None, {}),
        ("google.protobuf.Duration", "duration = {gte: {seconds: 1}, lt: {seconds: 5}}", ["duration.gte_lt"], {}),
        (
            "google.protobuf.Duration",
            "duration = {gte: {seconds: 5}, lt: {seconds: 1}}",
            ["duration.gte_lt_exclusive"],
            {},
        ),
        ("google.protobuf.Duration", "duration.const = {seconds: 1}", ["duration.const"], {}),
        ("google.protobuf.FieldMask", 'field_mask = {not_in: ["a"]}', ["field_mask.not_in"], {}),
        ("int32", 'cel = {id: "even", message: "must be even", expression: "this % 2 == 0"}', ["even"], {}),
        ("int32", 'cel_expression = "this % 2 == 0"', ["this % 2 == 0"], {}),
    ],
)
def test_what_the_schema_cannot_wholly_say_is_named(
    type_name: str, rule: str, ids: list[str] | None, expected: dict[str, Any]
) -> None:
    found = _part(type_name, rule)
    names = found.pop("x-buf-validate")
    assert names == (ids or ["timestamp.gt_now", "timestamp.within"])
    description = found.pop("description")
    assert all(f"`{name}`" in description for name in names)
    assert found == expected


@pytest.mark.parametrize(
    ("rule", "lengths"),
    [("len = 2", {2}), ("min_len = 3", {3, 4, 16, 17}), ("max_len = 2", {0, 1, 2}), ("ip = true", {4, 16})],
)
def test_a_length_of_bytes_is_a_pattern_of_base64(rule: str, lengths: set[int]) -> None:
    schema = _rule("bytes", f"bytes.{rule}")
    every = [schema["pattern"], *(part["pattern"] for part in schema.get("allOf", []))]
    texts = {length: base64.b64encode(b"a" * length).decode() for length in (0, 1, 2, 3, 4, 16, 17)}
    assert {n for n, text in texts.items() if all(re.search(pattern, text) for pattern in every)} == lengths


def test_an_enum_is_its_names_and_where_proto_json_reads_them_the_numbers() -> None:
    names = ["E_UNSPECIFIED", "E_A", "E_B"]
    rule = "enum.defined_only = true"
    assert _rule("E", rule, PARAMETER, _ENUM) == {"type": "string", "enum": names}
    assert _rule("E", rule, RESPONSE, _ENUM) == {"enum": names}
    body = field_schema(f"E f = 1 [(buf.validate.field).{rule}];", BODY, _ENUM)
    assert body == {"anyOf": [{"enum": [*names, 0, 1, 2]}, {"type": "null"}]}


def test_an_open_enum_takes_any_number_but_the_refused_ones() -> None:
    schema = _rule("E", "enum = {not_in: [0, 7]}", BODY, _ENUM)
    unknown = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1, "not": {"enum": [0, 7]}}
    assert schema == {"anyOf": [{"enum": ["E_A", "E_B", 1, 2]}, unknown]}


def test_an_enum_that_is_listed_is_limited_to_the_list() -> None:
    assert _rule("E", "enum = {in: [1, 9]}", RESPONSE, _ENUM) == {"enum": ["E_A", 9]}
    assert _rule("E", "enum.const = 2", PARAMETER, _ENUM) == {"type": "string", "enum": ["E_B"]}


def test_a_list_has_limits_and_the_rules_of_its_items() -> None:
    rule = "repeated = {min_items: 1, max_items: 5, unique: true, items: {uint32: {gt: 0}}}"
    assert _rule("repeated uint32", rule, BODY) == {
        "type": "array",
        "items": _UINT32,
        "minItems": 1,
        "maxItems": 5,
        "uniqueItems": True,
    }


def test_a_list_whose_items_have_two_spellings_names_the_rule_that_they_differ() -> None:
    assert _rule("repeated uint64", "repeated.unique = true", BODY)["x-buf-validate"] == ["repeated.unique"]
    assert "x-buf-validate" not in _rule("repeated uint64", "repeated.unique = true", RESPONSE)


def test_a_map_has_limits_and_the_rules_of_keys_and_values() -> None:
    rule = "map = {min_pairs: 1, max_pairs: 2, keys: {uint64: {gt: 0, lt: 10}}, values: {string: {min_len: 1}}}"
    assert _rule("map<uint64, string>", rule, BODY) == {
        "type": "object",
        "propertyNames": {"type": "string", "pattern": "^(?:[1-9])$"},
        "additionalProperties": {"type": "string", "minLength": 1},
        "minProperties": 1,
        "maxProperties": 2,
    }
    assert field_schema("map<bool, bool> f = 1;", RESPONSE)["propertyNames"] == {"enum": ["false", "true"]}


def test_an_any_has_a_type_of_the_list() -> None:
    schema = _rule("google.protobuf.Any", 'any = {in: ["type.googleapis.com/a.B"]}', BODY)
    assert {"properties": {"@type": {"enum": ["type.googleapis.com/a.B"]}}} in schema["anyOf"][0]["allOf"]


def test_a_field_mask_is_a_list_of_paths_in_lower_camel_case() -> None:
    schema = _rule("google.protobuf.FieldMask", 'field_mask = {in: ["user_name", "b"]}')
    matches = re.compile(schema["pattern"]).search
    assert all(matches(text) for text in ("", "userName", "b.c,userName"))
    assert not any(matches(text) for text in ("user_name", "c", "b,", "bc"))


def test_examples_of_the_contract_are_examples_of_the_schema() -> None:
    assert _part("int64", "int64 = {example: [5, 6]}") == {"examples": ["5", "6"]}
    moment = "timestamp = {example: [{seconds: 5}]}"
    assert _part("google.protobuf.Timestamp", moment)["examples"] == ["1970-01-01T00:00:05Z"]


def test_a_rule_that_nobody_knows_fails_with_the_name_of_the_field(tmp_path: Path) -> None:
    rules = (ROOT / "third_party/proto/buf/validate/validate.proto").read_text()
    known = "  optional bool strict = 25;"
    assert known in rules
    target = tmp_path / "buf/validate/validate.proto"
    target.parent.mkdir(parents=True)
    target.write_text(rules.replace(known, f"{known}\n  optional bool palindrome = 99;"))
    source = "message M { string f = 1 [(buf.validate.field).string.palindrome = true]; }"
    with pytest.raises(ContractError, match=r"test\.v1\.M\.f: .*string\.palindrome"):
        message_schema(source, folder=tmp_path)


def test_a_rule_of_the_contract_itself_is_named_by_its_id(tmp_path: Path) -> None:
    (tmp_path / "own.proto").write_text(
        """
        syntax = "proto2";
        package own;
        import "buf/validate/validate.proto";
        extend buf.validate.StringRules {
          optional bool palindrome = 80000 [(buf.validate.predefined).cel = {
            id: "string.palindrome" message: "must be a palindrome" expression: "!rule || this == 'aba'"
          }];
        }
        """
    )
    source = """
        import "own.proto";
        message M { string f = 1 [(buf.validate.field).string = {[own.palindrome]: true, min_len: 1}]; }
    """
    schema = message_schema(source, RESPONSE, tmp_path)["properties"]["f"]
    assert schema["x-buf-validate"] == ["string.palindrome"]
    assert schema["minLength"] == 1
