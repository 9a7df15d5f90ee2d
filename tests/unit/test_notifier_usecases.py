"""What the notifier decides, and how it reads events."""

import pytest

from services.chassis.bus import Message
from services.chassis.event_json import EventError
from services.chassis.log import get_logger
from services.chassis.rules import BrokenRulesError
from services.notifier.events import to_notification
from services.notifier.memory import MemoryStorage
from services.notifier.usecases import Notification, Notifications
from tests.clock import FakeClock

VALUE = b'{"order_id": 5, "status": "payed", "moment": "2026-01-02T12:00:00.678Z"}'


def message(value: bytes = VALUE, sequence: bytes = b"3") -> Message:
    return Message(b"5", value, (("event-id", b"x"), ("sequence", sequence)))


async def test_a_change_is_logged_once_however_often_its_event_comes(logs: list[dict[str, object]]) -> None:
    notifications = Notifications(MemoryStorage(), get_logger("notifier"))
    for _ in range(3):
        await notifications.notify(Notification(5, 1, "new", FakeClock()()))

    assert [(line["event"], line["order_id"], line["status"]) for line in logs] == [("order status changed", 5, "new")]
    assert len(await notifications.of_order(5)) == 1


def test_an_event_asks_for_a_notification() -> None:
    assert to_notification(message()) == Notification(5, 3, "payed", FakeClock()())


@pytest.mark.parametrize(
    ("value", "sequence"),
    [
        (b"not json", b"1"),
        (b"[]", b"1"),
        (b'{"order_id": 5, "status": "payed"}', b"1"),
        (VALUE.replace(b"}", b', "more": 1}'), b"1"),
        (VALUE.replace(b"5,", b'"5",'), b"1"),
        (VALUE.replace(b"Z", b"+01:00"), b"1"),
        (VALUE.replace(b"2026-01-02T", b"yesterday"), b"1"),
        (VALUE, b""),
        (VALUE, b"first"),
    ],
)
def test_what_is_no_event_is_refused(value: bytes, sequence: bytes) -> None:
    with pytest.raises(EventError):
        to_notification(message(value, sequence))


@pytest.mark.parametrize("value", [VALUE.replace(b"5,", b"0,"), VALUE.replace(b"payed", b"paid")])
def test_an_event_that_breaks_a_rule_of_the_contract_is_refused(value: bytes) -> None:
    with pytest.raises(BrokenRulesError):
        to_notification(message(value))
