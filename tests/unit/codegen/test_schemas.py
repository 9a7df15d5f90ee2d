"""Messages: what a request may leave out, what an answer always has, and that both are closed."""

import pytest
from openapi_schema_validator import OAS31Validator

from codegen.descriptors import ContractError
from codegen.openapi.kinds import Place, Schema
from tests.unit.codegen.compiled import field_schema, message_schema

BODY, RESPONSE = Place.BODY, Place.RESPONSE


def _accepts(schema: Schema, instance: object) -> bool:
    return bool(OAS31Validator(schema).is_valid(instance))


@pytest.mark.parametrize(
    "field",
    [
        "uint32 f = 1 [(buf.validate.field).uint32.gt = 0];",
        "int64 f = 1 [(buf.validate.field).int64 = {in: [3, 4]}];",
        "double f = 1 [(buf.validate.field).double.gte = 0.5];",
        "bool f = 1 [(buf.validate.field).bool.const = true];",
        "string f = 1 [(buf.validate.field).string.min_len = 1];",
        "string f = 1 [(buf.validate.field).string.uuid = true];",
        'string f = 1 [(buf.validate.field).string.pattern = "^a+$"];',
        "string f = 1 [(buf.validate.field).required = true];",
        "optional string f = 1 [(buf.validate.field).required = true];",
        "bytes f = 1 [(buf.validate.field).bytes.len = 16];",
        "E f = 1 [(buf.validate.field).enum = {not_in: [0]}];",
        "repeated string f = 1 [(buf.validate.field).repeated.min_items = 1];",
        "map<string, string> f = 1 [(buf.validate.field).map.min_pairs = 1];",
        "google.protobuf.Timestamp f = 1 [(buf.validate.field).required = true];",
        'int32 f = 1 [(buf.validate.field).cel = {id: "odd", message: "odd", expression: "this % 2 == 1"}];',
    ],
)
def test_a_request_needs_the_fields_whose_zero_value_breaks_a_rule(field: str) -> None:
    schema = message_schema(f"enum E {{ E_U = 0; E_A = 1; }} message M {{ {field} }}")
    assert schema["required"] == ["f"]
    assert not _accepts(schema, {})
    assert not _accepts(schema, {"f": None})


@pytest.mark.parametrize(
    "field",
    [
        "uint32 f = 1;",
        "uint32 f = 1 [(buf.validate.field).uint32.lt = 5];",
        "optional uint32 f = 1 [(buf.validate.field).uint32.gt = 0];",
        "uint64 f = 1 [(buf.validate.field) = {ignore: IGNORE_IF_ZERO_VALUE, uint64: {gt: 5}}];",
        "uint32 f = 1 [(buf.validate.field) = {ignore: IGNORE_ALWAYS, required: true, uint32: {gt: 5}}];",
        "string f = 1 [(buf.validate.field).string.max_len = 5];",
        "E f = 1 [(buf.validate.field).enum.defined_only = true];",
        "N f = 1;",
        "repeated string f = 1 [(buf.validate.field).repeated.items.string.min_len = 1];",
        "map<string, string> f = 1;",
        "google.protobuf.Duration f = 1;",
        "google.protobuf.StringValue f = 1 [(buf.validate.field).string.min_len = 1];",
    ],
)
def test_a_request_may_leave_out_every_other_field_and_say_null_for_it(field: str) -> None:
    schema = message_schema(f"enum E {{ E_U = 0; E_A = 1; }} message N {{}} message M {{ {field} }}")
    assert "required" not in schema
    assert _accepts(schema, {})
    assert _accepts(schema, {"f": None})


@pytest.mark.parametrize("place", [BODY, RESPONSE])
def test_a_message_is_closed_and_knows_its_fields_by_one_name(place: Place) -> None:
    schema = message_schema("message M { optional uint32 user_age = 1; }", place)
    assert _accepts(schema, {"userAge": 1})
    assert not _accepts(schema, {"user_age": 1})
    assert not _accepts(schema, {"other": 1})


def test_an_answer_has_every_field_and_no_null_scalar() -> None:
    schema = message_schema("message M { uint32 a = 1; int64 b = 2; repeated string c = 3; }", RESPONSE)
    assert schema["required"] == ["a", "b", "c"]
    assert _accepts(schema, {"a": 0, "b": "0", "c": []})
    assert not _accepts(schema, {"a": 0, "b": 0, "c": []})
    assert not _accepts(schema, {"a": None, "b": "0", "c": []})


def test_an_answer_has_null_for_a_message_that_is_not_there_and_lacks_what_is_optional() -> None:
    source = """
        message N {}
        message M {
          N a = 1;
          N b = 2 [(buf.validate.field).required = true];
          optional int32 c = 3;
          oneof o { int32 d = 4; }
        }
    """
    schema = message_schema(source, RESPONSE)
    assert schema["required"] == ["a", "b"]
    assert _accepts(schema, {"a": None, "b": {}})
    assert not _accepts(schema, {"a": None, "b": None})
    assert not _accepts(schema, {"a": {}, "b": {}, "c": None})


def test_zero_is_right_where_the_rules_ignore_it() -> None:
    schema = message_schema(
        "message M { int64 f = 1 [(buf.validate.field) = {ignore: IGNORE_IF_ZERO_VALUE, int64: {gt: 5}}]; }"
    )
    assert all(_accepts(schema, {"f": value}) for value in (0, "0", 6, "6"))
    assert not any(_accepts(schema, {"f": value}) for value in (1, "1", 5))


def test_rules_that_are_always_ignored_say_nothing() -> None:
    field = "uint32 f = 1 [(buf.validate.field) = {ignore: IGNORE_ALWAYS, uint32: {gt: 5}}];"
    assert field_schema(field, RESPONSE) == field_schema("uint32 f = 1;", RESPONSE)


def test_ignoring_the_rules_inside_of_a_message_is_refused() -> None:
    with pytest.raises(ContractError, match=r"test\.v1\.M\.f: IGNORE_ALWAYS"):
        message_schema("message N {} message M { N f = 1 [(buf.validate.field).ignore = IGNORE_ALWAYS]; }")


def test_at_most_one_member_of_a_oneof_is_set() -> None:
    schema = message_schema("message M { oneof o { int32 a = 1; string b = 2; } }")
    for instance in ({}, {"a": 0}, {"b": ""}, {"a": None}, {"a": None, "b": "x"}):
        assert _accepts(schema, instance)
    assert not _accepts(schema, {"a": 1, "b": "x"})


def test_one_member_of_a_required_oneof_is_set() -> None:
    oneof = "oneof o { option (buf.validate.oneof).required = true; int32 a = 1; string b = 2; }"
    schema = message_schema(f"message M {{ {oneof} }}")
    assert _accepts(schema, {"a": 0})
    assert _accepts(schema, {"b": ""})
    for instance in ({}, {"a": None}, {"a": 1, "b": "x"}):
        assert not _accepts(schema, instance)


def test_zero_is_unset_in_a_oneof_that_the_rules_of_the_message_list() -> None:
    source = """
        message M {
          option (buf.validate.message).oneof = {fields: ["a", "b"], required: true};
          int64 a = 1 [(buf.validate.field).int64.gt = 5];
          string b = 2;
        }
    """
    schema = message_schema(source)
    assert "required" not in schema
    for instance in ({"a": 6}, {"a": "6", "b": ""}, {"a": 0, "b": "x"}, {"b": "x", "a": None}):
        assert _accepts(schema, instance)
    for bad in ({}, {"a": 0}, {"a": 6, "b": "x"}, {"a": 1}):
        assert not _accepts(schema, bad)


def test_a_rule_of_a_message_in_cel_is_named() -> None:
    source = """
        message M {
          option (buf.validate.message).cel = {id: "order", message: "a is below b", expression: "this.a < this.b"};
          int32 a = 1;
          int32 b = 2;
        }
    """
    schema = message_schema(source)
    assert schema["x-buf-validate"] == ["order"]
    assert "a is below b" in schema["description"]


def test_a_message_that_holds_itself_refers_to_itself() -> None:
    schema = message_schema("message M { repeated M more = 1; }")
    assert _accepts(schema, {"more": [{"more": []}, {}]})
    assert not _accepts(schema, {"more": [{"less": []}]})


def test_comments_are_descriptions_one_line_a_paragraph() -> None:
    source = """
        // A message of
        // two lines.
        //
        // And more.
        message M {
          // What it
          // counts.
          uint32 f = 1;
        }
    """
    schema = message_schema(source)
    assert schema["description"] == "A message of two lines.\n\nAnd more."
    assert schema["properties"]["f"]["description"] == "What it counts."


@pytest.mark.parametrize(
    ("field", "schema"),
    [
        ("google.protobuf.Struct f = 1 [(buf.validate.field).required = true];", {"type": "object"}),
        ("google.protobuf.Value f = 1;", {}),
        (
            "google.protobuf.Empty f = 1 [(buf.validate.field).required = true];",
            {"type": "object", "additionalProperties": False},
        ),
    ],
)
def test_a_well_known_type_has_the_json_of_its_own(field: str, schema: Schema) -> None:
    assert field_schema(field) == schema


@pytest.mark.parametrize("field", ["N f = 1;", "repeated N f = 1;", "map<string, string> f = 1;"])
def test_what_is_no_text_is_no_parameter(field: str) -> None:
    with pytest.raises(ContractError, match=r"test\.v1\.M\.f: .* is no parameter"):
        field_schema(field, Place.PARAMETER, "message N {}")


def test_a_rule_that_is_no_cel_fails_with_the_name_of_the_message() -> None:
    with pytest.raises(ContractError, match=r"test\.v1\.M: "):
        message_schema("message M { int32 f = 1 [(buf.validate.field).cel_expression = 'this +']; }")


def test_a_limit_that_is_infinite_fails_with_the_name_of_the_field() -> None:
    with pytest.raises(ContractError, match=r"test\.v1\.M\.f: double\.lt = inf"):
        field_schema("double f = 1 [(buf.validate.field).double.lt = inf];")
