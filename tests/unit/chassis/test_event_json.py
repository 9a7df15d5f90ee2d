"""Events as JSON: the bytes, and what is no event."""

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from marketplace.cart.v1.cart_pb2 import ListResponse
from marketplace.loms.v1.events_pb2 import OrderEvent

from services.chassis import event_json
from services.chassis.clock import timestamp
from services.chassis.event_json import EventError

VALUE = b'{"order_id": 5, "status": "new", "moment": "2026-01-02T03:04:05.678Z"}'
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
EVENT = OrderEvent(order_id=5, status="new", moment=timestamp(MOMENT))

INT64 = st.integers(-(2**63), 2**63 - 1)
MILLISECONDS = st.datetimes(timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)


def test_an_event_is_these_bytes() -> None:
    assert event_json.encode(EVENT) == VALUE
    assert event_json.decode(OrderEvent, VALUE) == EVENT


def test_a_field_that_is_not_set_and_a_time_without_a_fraction_are_written_out() -> None:
    event = OrderEvent(moment=Timestamp(seconds=0))

    assert event_json.encode(event) == b'{"order_id": 0, "status": "", "moment": "1970-01-01T00:00:00.000Z"}'


@given(order_id=INT64, status=st.text(), moment=MILLISECONDS)
def test_every_event_is_read_as_it_was_written(order_id: int, status: str, moment: datetime) -> None:
    event = OrderEvent(order_id=order_id, status=status, moment=timestamp(moment))

    assert event_json.decode(OrderEvent, event_json.encode(event)) == event


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (VALUE.replace(b"{", b'{"order_id": 4, '), "a field is there twice"),
        (VALUE.replace(b"5,", b"9223372036854775808,"), "order_id"),
        (VALUE.replace(b'"new"', b'"\\ud800"'), "status"),
        (b"null", "not a JSON object"),
        (b"[" + VALUE + b"]", "not a JSON object"),
        (b"{}", "the fields are"),
        (VALUE.replace(b'"status": "new", ', b""), "the fields are"),
        (VALUE.replace(b"}", b', "more": null}'), "the fields are"),
        (VALUE.replace(b"order_id", b"orderId"), "the fields are"),
        (VALUE.replace(b"5,", b'"5",'), "order_id is not of type int"),
        (VALUE.replace(b"5,", b"true,"), "order_id is not of type int"),
        (VALUE.replace(b"5,", b"5.0,"), "order_id is not of type int"),
        (VALUE.replace(b"5,", b"null,"), "order_id is not of type int"),
        (VALUE.replace(b'"new"', b"1"), "status is not of type str"),
        (VALUE.replace(b'"2026-01-02T03:04:05.678Z"', b"1767323045"), "moment is not a time in UTC"),
        (VALUE.replace(b"Z", b""), "moment is not a time in UTC"),
        (VALUE.replace(b"Z", b"+00:00"), "moment is not a time in UTC"),
        (VALUE.replace(b"Z", b"+02:00"), "moment is not a time in UTC"),
        (VALUE.replace(b"Z", b"+02:00Z"), "moment is not a time in UTC"),
        (VALUE.replace(b"01-02T", b"13-02T"), "moment is not a time in UTC"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(value: bytes, message: str) -> None:
    with pytest.raises(EventError, match=message):
        event_json.decode(OrderEvent, value)


def test_a_message_with_a_list_is_no_event() -> None:
    with pytest.raises(TypeError, match=r"ListResponse\.items: events hold integers, strings and timestamps only"):
        event_json.encode(ListResponse())
