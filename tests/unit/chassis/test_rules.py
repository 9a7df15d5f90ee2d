"""Broken rules, in the words of a caller."""

from typing import Any

import protovalidate
import pytest
from google.protobuf.json_format import ParseDict
from google.rpc import error_details_pb2
from marketplace.loms.v1.loms_pb2 import OrderCreateRequest, OrderItem

from services.chassis.rules import BrokenRulesError, check_rules, field_path
from tests.unit.codegen.compiled import class_of

SOURCE = """
    message Leaf { int32 size = 1 [(buf.validate.field).int32.gt = 0]; }
    message Branch { repeated Leaf leaves = 1; }
    message M {
      int32 age = 1 [(buf.validate.field).int32.gte = 0];
      Leaf leaf = 2;
      repeated Branch branches = 3;
      repeated int32 rings = 4 [(buf.validate.field).repeated.items.int32.gt = 0];
      map<string, Leaf> by_name = 5;
      map<int32, Leaf> by_number = 6;
    }
"""


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"age": -1}, "age"),
        ({"leaf": {}}, "leaf.size"),
        ({"rings": [1, 0]}, "rings[1]"),
        ({"branches": [{}, {"leaves": [{"size": 1}, {}]}]}, "branches[1].leaves[1].size"),
        ({"byName": {"a b": {}}}, 'by_name["a b"].size'),
        ({"byNumber": {"-7": {}}}, "by_number[-7].size"),
    ],
)
def test_a_field_is_named_as_a_caller_would_write_it(message: dict[str, Any], path: str) -> None:
    # A validator of its own: the common one knows messages by their names.
    [violation] = protovalidate.Validator().collect_violations(ParseDict(message, class_of(SOURCE)()))

    assert violation.proto.field is not None
    assert field_path(violation.proto.field) == path


def test_every_broken_rule_is_told_with_its_field_its_id_and_its_sentence() -> None:
    with pytest.raises(BrokenRulesError) as raised:
        check_rules(OrderCreateRequest(items=[OrderItem(sku=1, count=1), OrderItem(sku=1, count=65536)]))

    violations = raised.value.bad_request.field_violations
    assert [(violation.field, violation.reason) for violation in violations] == [
        ("user_id", "int64.gt"),
        ("items[1].count", "uint32.gte_lte"),
    ]
    assert raised.value.message == "; ".join(f"{one.field}: {one.description}" for one in violations)
    assert (raised.value.code, raised.value.reason) == (3, "INVALID_ARGUMENT")


def test_a_message_that_keeps_the_rules_passes() -> None:
    check_rules(OrderCreateRequest(user_id=1, items=[OrderItem(sku=1, count=65535)]))


def test_a_rule_over_several_fields_is_told_without_a_field() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(description="min must not be above max", reason="range")

    error = BrokenRulesError(error_details_pb2.BadRequest(field_violations=[violation]))

    assert error.message == "min must not be above max"
