"""The events of orders, as the notifier reads them."""

import re
from datetime import UTC
from typing import Any

from marketplace.loms.v1.events_pb2 import OrderEvent, OrderEventHeaders

from services.chassis import event_json
from services.chassis.bus import Message, Received
from services.chassis.rules import BrokenRulesError, check_rules
from services.notifier.usecases import Arrived, Event, Notification

Headers = tuple[tuple[str, bytes], ...]

EVENT_ID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
NUMBER = re.compile(rb"-?\d{1,19}")
HIGHEST_ORDER_ID = 2**63 - 1
ERROR_LENGTH = 500


def to_arrived(received: Received) -> Arrived:
    """The event, and what it asks for or what is wrong with it. Never raises."""
    message, partition, offset = received.message, received.partition, received.offset
    event_id = dict(message.headers).get("event-id", b"")
    # Two events that break the contract with one id are still two.
    own_id = event_id.decode() if EVENT_ID.fullmatch(event_id) else f"{partition}/{offset}"
    return read(
        Event(own_id, _order_id(message.key), partition, offset, message.key, message.value, message.headers)
    )


def read(event: Event) -> Arrived:
    """What an event asks for, or what is wrong with it. Never raises."""
    try:
        return Arrived(event, to_notification(Message(event.key, event.value, event.headers)))
    except (event_json.EventError, BrokenRulesError) as error:
        return Arrived(event, error=str(error)[:ERROR_LENGTH])
    except Exception as error:
        return Arrived(event, error=type(error).__name__)


def to_notification(message: Message) -> Notification:
    """The notification that an event asks for. Raises EventError or BrokenRulesError when it breaks the contract."""
    event = event_json.decode(OrderEvent, message.value)
    check_rules(event)
    headers = _headers(message.headers)
    check_rules(headers)
    if message.key != str(event.order_id).encode():
        raise event_json.EventError("key: is not the order_id")
    return Notification(event.order_id, headers.sequence, event.status, event.moment.ToDatetime(UTC))


def _order_id(key: bytes) -> int | None:
    order_id = int(key) if NUMBER.fullmatch(key) else 0
    return order_id if 0 < order_id <= HIGHEST_ORDER_ID else None


def _headers(given: Headers) -> OrderEventHeaders:
    """The headers of the contract, whose names have dashes there. Others are ignored."""
    headers = OrderEventHeaders()
    for field in OrderEventHeaders.DESCRIPTOR.fields:
        values = [value for name, value in given if name == field.name.replace("_", "-")]
        if len(values) > 1:
            raise event_json.EventError(f"{field.name}: the header is there twice")
        if values:
            _set(headers, field, values[0])
    return headers


def _set(headers: OrderEventHeaders, field: Any, value: bytes) -> None:
    """The field is a FieldDescriptor: the two implementations of it have no common type."""
    is_text = field.cpp_type == field.CPPTYPE_STRING
    if not is_text and not NUMBER.fullmatch(value):
        raise event_json.EventError(f"{field.name}: the header is not a number")
    try:
        setattr(headers, field.name, value.decode() if is_text else int(value))
    except ValueError as error:
        raise event_json.EventError(f"{field.name}: the header is out of its range") from error
