"""What the notifier decides, and how it reads events."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.bus import Message, Received
from services.chassis.errors import UnavailableError
from services.chassis.event_json import EventError
from services.chassis.log import get_logger
from services.chassis.rules import BrokenRulesError
from services.notifier.events import read, to_arrived, to_notification
from services.notifier.memory import MemoryStorage
from services.notifier.usecases import (
    ATTEMPTS,
    BEHIND,
    Arrived,
    Event,
    Notification,
    Notifications,
    Recorded,
    sort_out,
)
from tests.clock import FakeClock

NOW = FakeClock()()
EVENT_ID = str(UUID(int=1))
VALUE = b'{"order_id": 5, "status": "payed", "moment": "2026-01-02T12:00:00.678Z"}'
HEADERS = {"event-id": EVENT_ID.encode(), "sequence": b"3", "user-id": b"7"}
NOTIFICATION = Notification(5, 3, "payed", NOW, 7)
BATCH = 500

Logs = list[dict[str, object]]


def message(value: bytes = VALUE, key: bytes = b"5", **headers: bytes) -> Message:
    """An event, with other headers where they are named: `user_id` is the header user-id."""
    changed = {name.replace("_", "-"): header for name, header in headers.items()}
    return Message(key, value, (*(HEADERS | changed).items(),))


def without(header: str) -> Message:
    return Message(b"5", VALUE, tuple(pair for pair in HEADERS.items() if pair[0] != header))


def arrived(given: Message) -> Arrived:
    return to_arrived(Received(given, 1, 42))


def event(order_id: int | None, name: str) -> Event:
    return Event(name, order_id, 0, 0, b"", b"", ())


def good(order_id: int, sequence: int) -> Arrived:
    return Arrived(event(order_id, f"{order_id}-{sequence}"), Notification(order_id, sequence, "new", NOW, 1))


def bad(order_id: int | None, sequence: int) -> Arrived:
    return Arrived(event(order_id, f"{order_id}-{sequence}"), error="wrong")


def behind(order_id: int, sequence: int) -> Arrived:
    return Arrived(event(order_id, f"{order_id}-{sequence}"), error=BEHIND)


# How events are read


def test_an_event_asks_for_a_notification() -> None:
    assert to_notification(message()) == NOTIFICATION


@pytest.mark.parametrize(
    "broken",
    [
        message(b"not json"),
        message(b"[]"),
        message(b'{"order_id": 5, "status": "payed"}'),
        message(VALUE.replace(b"}", b', "more": 1}')),
        message(VALUE.replace(b"5,", b'"5",')),
        message(VALUE.replace(b"Z", b"+01:00")),
        message(VALUE.replace(b"2026-01-02T", b"yesterday")),
        message(sequence=b""),
        message(sequence=b"first"),
        message(sequence=b"1_000"),
        message(sequence=b"9223372036854775808"),
        message(sequence=b"9" * 5000),
        message(user_id=b"7.5"),
        message(event_id=b"\xff"),
        Message(b"5", VALUE, (*HEADERS.items(), ("sequence", b"4"))),
        message(key=b"6"),
        message(key=b"05"),
        message(key=b""),
    ],
)
def test_what_is_no_event_is_refused(broken: Message) -> None:
    with pytest.raises(EventError):
        to_notification(broken)


@pytest.mark.parametrize(
    "broken",
    [
        message(VALUE.replace(b"5,", b"0,"), key=b"0"),
        message(VALUE.replace(b"payed", b"paid")),
        message(sequence=b"0"),
        message(sequence=b"-1"),
        message(user_id=b"0"),
        message(event_id=b"x"),
        *(without(header) for header in HEADERS),
    ],
)
def test_an_event_that_breaks_a_rule_of_the_contract_is_refused(broken: Message) -> None:
    with pytest.raises(BrokenRulesError):
        to_notification(broken)


def test_an_event_arrives_with_its_place_and_what_it_asks_for() -> None:
    came = message()

    assert arrived(came) == Arrived(Event(EVENT_ID, 5, 1, 42, b"5", VALUE, came.headers), NOTIFICATION)


def test_headers_that_the_contract_does_not_know_are_kept_and_not_looked_at() -> None:
    more = (("traceparent", b"\xff"), ("traceparent", b"\xfe"))
    came = arrived(Message(b"5", VALUE, (*HEADERS.items(), *more)))

    assert came.notification == NOTIFICATION
    assert came.event.headers[-2:] == more


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (message(b"\xff"), "not JSON"),
        (message(VALUE.replace(b"5,", b"0,")), "order_id: must be greater than 0"),
        (message(VALUE.replace(b"payed", b"paid")), "status: must be in list"),
        (message(sequence=b"0"), "sequence: must be greater than 0"),
        (message(sequence=b"x"), "sequence: the header is not a number"),
        (without("event-id"), "event_id: "),
        (without("user-id"), "user_id: must be greater than 0"),
        (Message(b"5", VALUE, (*HEADERS.items(), ("user-id", b"7"))), "user-id: the header is there twice"),
        (message(key=b"6"), "key: "),
    ],
)
def test_a_broken_event_arrives_with_an_error_that_names_field_and_rule(broken: Message, error: str) -> None:
    came = arrived(broken)

    assert came.notification is None
    assert came.error.startswith(error)


def test_an_error_is_not_as_long_as_the_event() -> None:
    assert len(arrived(message(b'{"%s": 1}' % (b"x" * 100_000))).error) <= 500


@pytest.mark.parametrize("event_id", [b"", b"x", b"\xff", EVENT_ID.encode() + b"\x00"])
def test_an_event_without_an_id_of_its_own_is_known_by_its_place(event_id: bytes) -> None:
    assert arrived(message(event_id=event_id)).event.id == "1/42"
    assert arrived(without("event-id")).event.id == "1/42"


@pytest.mark.parametrize(
    ("key", "order_id"),
    [
        (b"6", 6),
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", None),
        (b"0", None),
        (b"-5", None),
        (b"", None),
        (b"five", None),
        (b"\xd9\xa5", None),
        (b"9" * 5000, None),
    ],
)
def test_a_broken_event_belongs_to_the_order_of_its_key(key: bytes, order_id: int | None) -> None:
    assert arrived(message(key=key)).event.order_id == order_id


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def mutated(value: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with some of them replaced."""
    return st.tuples(st.integers(0, len(value)), st.integers(0, len(value)), st.binary(max_size=20)).map(
        lambda cut: value[: cut[0]] + cut[2] + value[cut[1] :]
    )


@given(
    key=st.binary(max_size=30) | mutated(b"5"),
    value=st.binary() | mutated(VALUE) | JSON.map(lambda value: repr(value).encode(errors="replace")),
    headers=st.lists(st.tuples(st.sampled_from([*HEADERS, "other"]), st.binary() | mutated(EVENT_ID.encode()))),
)
def test_whatever_comes_arrives(key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    came = arrived(Message(key, value, tuple(headers)))

    assert (came.notification is None) == bool(came.error)
    assert came.notification is None or came.notification.order_id == came.event.order_id
    assert read(came.event) == came


def test_a_fault_in_reading_is_an_error_of_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.notifier.events.check_rules", None)

    assert arrived(message()).error == "TypeError"


# What is news


def test_what_is_above_the_last_sequence_of_its_order_is_news() -> None:
    batch = [good(5, 1), good(5, 2), good(6, 1), good(5, 3), good(5, 3), good(5, 2), good(6, 2), good(5, 4)]

    found = sort_out(batch, {5: 2}, ())

    assert [(each.order_id, each.sequence) for each in found.news] == [(6, 1), (5, 3), (6, 2), (5, 4)]
    assert found.parked == []


def test_behind_an_event_that_is_parked_all_later_ones_of_its_order_are_parked_each_once() -> None:
    batch = [good(5, 1), good(6, 1), bad(6, 2), bad(5, 2), good(5, 3), bad(5, 2), good(6, 3), good(5, 3), good(7, 1)]

    found = sort_out(batch, {}, ())

    assert [(each.order_id, each.sequence) for each in found.news] == [(5, 1), (6, 1), (7, 1)]
    assert found.parked == [bad(6, 2), bad(5, 2), behind(5, 3), behind(6, 3)]


def test_an_order_that_has_something_parked_has_no_news_and_what_it_knows_is_not_parked() -> None:
    assert sort_out([good(5, 2), good(5, 3), good(6, 1)], {5: 2}, {5}) == Recorded(
        [Notification(6, 1, "new", NOW, 1)], [behind(5, 3)]
    )


def test_an_event_of_no_order_makes_nobody_wait() -> None:
    assert sort_out([bad(None, 1), bad(None, 2), good(5, 1)], {}, ()) == Recorded(
        [Notification(5, 1, "new", NOW, 1)], [bad(None, 1), bad(None, 2)]
    )


# What is done with a batch


class RefusingStorage(MemoryStorage):
    """Refuses some notifications of an order, and all that comes with them."""

    def __init__(self, order_ids: Sequence[int], times: int = 10**6) -> None:
        super().__init__()
        self._order_ids = order_ids
        self._times = times
        self.batches: list[int] = []

    async def record(self, batch: Sequence[Arrived]) -> Recorded:
        self.batches.append(len(batch))
        wanted = [each.notification.order_id for each in batch if each.notification]
        waiting = {letter.event.order_id for letter in await self.letters(0, BATCH)}
        if (set(wanted) - waiting).intersection(self._order_ids) and self._times > 0:
            self._times -= len(batch) == 1
            raise ValueError("secret")
        return await super().record(batch)


class UnavailableStorage(MemoryStorage):
    """Cannot be reached after so many calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self._calls = calls

    async def record(self, batch: Sequence[Arrived]) -> Recorded:
        self._calls -= 1
        if self._calls < 0:
            raise UnavailableError("not there")
        return await super().record(batch)


def told(logs: Logs, line: str) -> list[tuple[object, ...]]:
    """The facts of each such log line."""
    common = {"event", "level", "timestamp", "service"}
    return [
        tuple(value for name, value in each.items() if name not in common) for each in logs if each["event"] == line
    ]


async def parked(notifications: Notifications) -> list[tuple[str, str]]:
    """Each letter, and what is wrong with it."""
    return [(letter.event.id, letter.error) async for letter in notifications.letters()]


async def test_a_change_is_logged_once_however_often_its_event_comes(logs: Logs) -> None:
    notifications = Notifications(MemoryStorage(), get_logger("notifier"))
    for _ in range(3):
        await notifications.handle([good(5, 1)])

    assert told(logs, "order status changed") == [(5, "new")]
    assert len(await notifications.of_order(5)) == 1


async def test_an_event_that_is_parked_is_logged_once_as_a_warning(logs: Logs) -> None:
    notifications = Notifications(MemoryStorage(), get_logger("notifier"))
    came = arrived(message(sequence=b"0"))
    for _ in range(3):
        await notifications.handle([came])

    assert told(logs, "event parked") == [(1, 42, 5, came.error)]
    assert [line["level"] for line in logs] == ["warning"]


async def test_what_is_parked_comes_back_however_much_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.notifier.usecases.PAGE", 2)
    notifications = Notifications(MemoryStorage(), get_logger("notifier"))
    await notifications.handle([bad(5, sequence) for sequence in range(5)])

    assert await parked(notifications) == [(f"5-{sequence}", "wrong") for sequence in range(5)]


async def test_an_event_that_is_refused_is_parked_without_what_is_secret_and_the_others_are_told_in_order(
    logs: Logs,
) -> None:
    notifications = Notifications(RefusingStorage([13]), get_logger("notifier"))
    orders = [*range(1, 21), 13]

    await notifications.handle([good(order_id, sequence) for sequence in (1, 2) for order_id in dict.fromkeys(orders)])

    others = [order_id for order_id in range(1, 21) if order_id != 13]
    assert told(logs, "order status changed") == [(order_id, "new") for _ in (1, 2) for order_id in others]
    assert await parked(notifications) == [("13-1", "ValueError"), ("13-2", BEHIND)]


@pytest.mark.parametrize("batch", [[good(5, 1)], [good(5, 1), good(6, 1)]])
async def test_an_event_that_is_refused_for_a_moment_is_not_parked(batch: list[Arrived]) -> None:
    notifications = Notifications(RefusingStorage([5], times=ATTEMPTS - 1), get_logger("notifier"))

    await notifications.handle(batch)

    assert len(await notifications.of_order(5)) == 1
    assert await parked(notifications) == []


async def test_an_event_that_is_refused_again_and_again_is_tried_three_times() -> None:
    storage = RefusingStorage([5], times=3)

    await Notifications(storage, get_logger("notifier")).handle([good(5, 1)])

    assert storage.batches == [1, 1, 1, 1]  # and parked
    assert len(await storage.letters(0, BATCH)) == 1


async def test_one_event_in_a_hundred_that_is_refused_costs_little_more_than_its_way_through_the_halves() -> None:
    refused = range(50, BATCH, 100)
    storage = RefusingStorage(refused)

    await Notifications(storage, get_logger("notifier")).handle([good(order_id, 1) for order_id in range(1, BATCH)])

    assert len(await storage.letters(0, BATCH)) == len(refused)
    assert len(storage.batches) <= len(refused) * (2 * 9 + ATTEMPTS)


@pytest.mark.parametrize("calls", [0, 1, 2])
async def test_nothing_is_parked_while_the_storage_is_not_there(calls: int, logs: Logs) -> None:
    storage = UnavailableStorage(calls)
    notifications = Notifications(storage, get_logger("notifier"))
    for sequence in range(1, calls + 1):
        await notifications.handle([good(5, sequence)])

    with pytest.raises(UnavailableError):
        await notifications.handle([good(5, calls + 1), good(6, 1)])

    assert len(told(logs, "order status changed")) == calls
    assert await parked(notifications) == []


async def test_what_was_handled_before_the_storage_was_gone_is_not_told_again(logs: Logs) -> None:
    class ThenUnavailable(RefusingStorage):
        async def record(self, batch: Sequence[Arrived]) -> Recorded:
            if len(self.batches) == 2:
                self.batches.append(0)
                raise UnavailableError("not there")
            return await super().record(batch)

    notifications = Notifications(ThenUnavailable([6]), get_logger("notifier"))
    batch = [good(5, 1), good(6, 1), good(7, 1)]
    with pytest.raises(UnavailableError):
        await notifications.handle(batch)
    assert told(logs, "order status changed") == [(5, "new")]

    await notifications.handle(batch)

    assert told(logs, "order status changed") == [(5, "new"), (7, "new")]
    assert await parked(notifications) == [("6-1", "ValueError")]
