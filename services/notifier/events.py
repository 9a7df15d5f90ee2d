"""The events of orders, as the notifier reads them."""

import re
from dataclasses import replace
from datetime import UTC
from typing import Any

from marketplace.loms.v1.events_pb2 import OrderEvent, OrderEventHeaders

from services.chassis import event_json
from services.chassis.bus import Message, Received
from services.chassis.rules import BrokenRulesError, check_rules
from services.notifier.usecases import Arrived, Event, Notification

Headers = tuple[tuple[str, bytes], ...]

FIELDS: dict[str, Any] = {field.name.replace("_", "-"): field for field in OrderEventHeaders.DESCRIPTOR.fields}
"""Those of the headers, by the names of the headers."""

EVENT_ID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
NUMBER = re.compile(rb"-?\d{1,19}")
HIGHEST_ORDER_ID = 2**63 - 1
ERROR_LENGTH = 500


def to_arrived(received: Received) -> Arrived:
    """The event, and what it asks for or what is wrong with it. Never raises."""
    message, partition, offset = received.message, received.partition, received.offset
    event_id = dict(message.headers).get("event-id", b"")
    # An id that breaks the contract may be that of another event, too.
    own_id = event_id.decode() if EVENT_ID.fullmatch(event_id) else f"{partition}/{offset}"
    event = Event(own_id, _order_id(message.key), partition, offset, message.key, message.value, message.headers)
    return read(event, received.traceparent)


def read(event: Event, traceparent: str | None = None) -> Arrived:
    """What an event asks for as part of this trace, or what is wrong with it. Never raises."""
    try:
        notification = to_notification(Message(event.key, event.value, event.headers))
        return Arrived(event, replace(notification, traceparent=traceparent))
    except (event_json.EventError, BrokenRulesError) as error:
        return Arrived(event, error=str(error)[:ERROR_LENGTH])
    except Exception as error:  # noqa: BLE001  what is behind it does not wait for ever
        return Arrived(event, error=type(error).__name__)


def to_notification(message: Message) -> Notification:
    """The notification that an event asks for. Raises EventError or BrokenRulesError when it breaks the contract."""
    event = event_json.decode(OrderEvent, message.value)
    check_rules(event)
    headers = _headers(message.headers)
    check_rules(headers)
    if message.key != str(event.order_id).encode():
        raise event_json.EventError("key: is not the order_id")
    return Notification(event.order_id, headers.sequence, event.status, event.moment.ToDatetime(UTC), headers.user_id)


def _order_id(key: bytes) -> int | None:
    order_id = int(key) if NUMBER.fullmatch(key) else 0
    return order_id if 0 < order_id <= HIGHEST_ORDER_ID else None


def _headers(given: Headers) -> OrderEventHeaders:
    """The headers of the contract. Others are ignored."""
    headers = OrderEventHeaders()
    found = set()
    for name, value in given:
        if name in found:
            raise event_json.EventError(f"{name}: the header is there twice")
        if name in FIELDS:
            found.add(name)
            _set(headers, name, value)
    return headers


def _set(headers: OrderEventHeaders, name: str, value: bytes) -> None:
    field = FIELDS[name]
    is_text = field.cpp_type == field.CPPTYPE_STRING
    if not is_text and not NUMBER.fullmatch(value):
        raise event_json.EventError(f"{name}: the header is not a number")
    try:
        setattr(headers, field.name, value.decode() if is_text else int(value))
    except ValueError as error:
        raise event_json.EventError(f"{name}: the header is out of its range") from error
