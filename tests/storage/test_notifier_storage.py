"""What every storage of the notifier promises, and what the notifier does on it."""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest

from services.chassis.bus import Message, Received
from services.chassis.errors import UnavailableError
from services.chassis.log import get_logger
from services.chassis.postgres import ATTEMPTS, database
from services.chassis.settings import StartError
from services.notifier.__main__ import dead_letters
from services.notifier.events import to_arrived
from services.notifier.memory import MemoryStorage
from services.notifier.postgres import PostgresStorage
from services.notifier.usecases import (
    BEHIND,
    Arrived,
    Delivered,
    Event,
    Letter,
    Notification,
    Notifications,
    Recorded,
    Replayed,
    Storage,
)
from tests.clock import FakeClock
from tests.marketplace import ROOT
from tests.postgres import session
from tests.storage.conftest import Databases
from tests.waiting import until

T = TypeVar("T")

NOW = FakeClock()()
STATUSES = ("new", "awaiting payment", "payed")
ORDER, OTHER_ORDER, REFUSED_ORDER = 5, 6, 13
USER, OTHER_USER = 31, 32
ORDERS, CHANGES = 40, 3
PAGE = 1000
CHUNK = 65_536

Storages = Callable[[], Storage]
Logs = list[dict[str, object]]


@pytest.fixture
async def storages(way: Databases | None) -> AsyncIterator[Storages]:
    """Gives the storage of one more process; in memory there is one."""
    if way is None:
        memory = MemoryStorage()
        yield lambda: memory
        return
    async with way("notifier") as connected:
        yield lambda: PostgresStorage(connected.database)


@pytest.fixture
def storage(storages: Storages) -> Storage:
    return storages()


def notification(sequence: int, order_id: int = ORDER) -> Notification:
    return Notification(order_id, sequence, STATUSES[sequence - 1], NOW, USER)


def event(sequence: int, order_id: int | None = ORDER) -> Event:
    headers = (("sequence", b"%d" % sequence), ("traceparent", b"\x00%\xff"), ("traceparent", b""))
    return Event(f"{order_id}-{sequence}", order_id, 1, sequence, b"\x00", b"\xff", headers)


def good(sequence: int, order_id: int = ORDER) -> Arrived:
    return Arrived(event(sequence, order_id), notification(sequence, order_id))


def bad(sequence: int, order_id: int | None = ORDER) -> Arrived:
    return Arrived(event(sequence, order_id), error="wrong")


def mended(parked: Event) -> Arrived:
    """The event, now that it can be read."""
    order_id, _, sequence = parked.id.partition("-")
    return good(int(sequence), int(order_id)) if order_id != "None" else Arrived(parked, error="no order")


def notifier(storage: Storage) -> Notifications:
    return Notifications(storage, get_logger("notifier"))


async def recorded(storage: Storage, *batch: Arrived) -> list[Notification]:
    """What of the batch is news."""
    return list((await storage.record(batch)).news)


async def sequences(storage: Storage, order_id: int = ORDER) -> list[int]:
    return [each.sequence for each in await storage.notifications(order_id)]


async def parked(storage: Storage) -> list[tuple[str, str]]:
    """Each letter, and what is wrong with it."""
    return [(letter.event.id, letter.error) for letter in await storage.letters(0, PAGE)]


def told(logs: Logs, line: str = "order status changed") -> list[tuple[object, object]]:
    return [(each["order_id"], each.get("status")) for each in logs if each["event"] == line]


# Notifications


async def test_notifications_of_an_order_come_back_in_order(storage: Storage) -> None:
    for sequence in (1, 2, 3):
        assert await recorded(storage, good(sequence)) == [notification(sequence)]
    await recorded(storage, good(1, OTHER_ORDER))

    assert list(await storage.notifications(ORDER)) == [notification(1), notification(2), notification(3)]


async def test_notifications_are_for_nobody_but_the_orders_user(storage: Storage) -> None:
    await recorded(storage, good(1), good(2))

    assert len(await storage.notifications(ORDER, USER)) == 2
    assert not await storage.notifications(ORDER, OTHER_USER)


async def test_an_unknown_order_has_none(storage: Storage) -> None:
    assert list(await storage.notifications(404)) == []


async def test_a_notification_is_recorded_once_however_often_it_comes(storage: Storage) -> None:
    for sequence in (1, 2):
        await recorded(storage, good(sequence))

    assert await asyncio.gather(*(recorded(storage, good(sequence)) for sequence in (1, 2, 1, 2))) == [[]] * 4
    assert await sequences(storage) == [1, 2]


async def test_what_is_news_of_a_batch_comes_back_in_its_order_each_once(storage: Storage) -> None:
    batch = [good(1, OTHER_ORDER), good(1), good(1), good(2), good(1, OTHER_ORDER), good(1), good(2, OTHER_ORDER)]

    assert await recorded(storage, *batch) == [
        *(notification(1, OTHER_ORDER), notification(1)),
        *(notification(2), notification(2, OTHER_ORDER)),
    ]
    assert await recorded(storage, *batch, good(3)) == [notification(3)]
    assert (await sequences(storage), await sequences(storage, OTHER_ORDER)) == ([1, 2, 3], [1, 2])


async def test_what_is_out_of_date_is_dropped(storage: Storage) -> None:
    assert await recorded(storage, good(2)) == [notification(2)]
    assert await recorded(storage, good(1), good(2), good(3), good(2)) == [notification(3)]
    assert await sequences(storage) == [2, 3]
    assert await parked(storage) == []


async def test_an_empty_batch_is_nothing(storage: Storage) -> None:
    assert await recorded(storage) == []


# What is parked


async def test_a_bad_event_parks_the_later_ones_of_its_order_and_no_others(storage: Storage) -> None:
    await recorded(storage, good(1), good(1, OTHER_ORDER))
    batch = [good(2, OTHER_ORDER), bad(2), good(3, OTHER_ORDER), good(3)]

    assert await storage.record(batch) == Recorded(
        [notification(2, OTHER_ORDER), notification(3, OTHER_ORDER)], [bad(2), Arrived(event(3), error=BEHIND)]
    )
    assert await parked(storage) == [("5-2", "wrong"), ("5-3", BEHIND)]
    assert (await sequences(storage), await sequences(storage, OTHER_ORDER)) == ([1], [1, 2, 3])


async def test_an_order_whose_first_event_is_bad_waits_too(storage: Storage) -> None:
    assert await recorded(storage, bad(1)) == []
    assert await recorded(storage, good(2)) == []
    assert await parked(storage) == [("5-1", "wrong"), ("5-2", BEHIND)]
    assert await sequences(storage) == []


async def test_a_bad_event_of_no_order_is_parked_alone(storage: Storage) -> None:
    assert await recorded(storage, bad(1, None), good(1)) == [notification(1)]
    assert await recorded(storage, bad(2, None), good(2)) == [notification(2)]
    assert await parked(storage) == [("None-1", "wrong"), ("None-2", "wrong")]


async def test_events_that_come_again_are_not_parked_again(storage: Storage) -> None:
    batch = [good(1), bad(2), good(3), bad(1, None)]
    first = await storage.record(batch)

    assert len(first.parked) == 3
    assert await storage.record([*batch, *batch]) == Recorded([], [])
    assert await storage.record(batch[:2]) == Recorded([], [])
    assert await parked(storage) == [("5-2", "wrong"), ("5-3", BEHIND), ("None-1", "wrong")]


async def test_a_letter_is_the_event_as_it_came(storage: Storage) -> None:
    for arrived in (bad(1), bad(2, None)):
        await storage.record([arrived])

    assert [letter.event for letter in await storage.letters(0, PAGE)] == [event(1), event(2, None)]


async def test_letters_come_page_by_page(storage: Storage) -> None:
    await storage.record([bad(1), bad(1, OTHER_ORDER), good(2)])
    first, second = await storage.letters(0, 2)
    [third] = await storage.letters(second.id, 2)

    assert [letter.event.id for letter in (first, second, third)] == ["5-1", "6-1", "5-2"]
    assert await storage.letters(third.id, 2) == []


# What crashes


async def test_a_batch_that_comes_again_after_a_crash_is_not_told_again(storages: Storages, logs: Logs) -> None:
    batch = [good(1), good(2), bad(1, OTHER_ORDER), good(2, OTHER_ORDER)]
    await notifier(storages()).handle(batch)

    await notifier(storages()).handle([*batch, good(3)])

    assert told(logs) == [(ORDER, status) for status in STATUSES]
    assert told(logs, "event parked") == [(OTHER_ORDER, None)] * 2


async def test_two_notifiers_that_handle_the_same_events_at_once_tell_each_change_once(
    storages: Storages, logs: Logs
) -> None:
    shuffled = random.Random(1)
    orders = {order_id: [good(sequence, order_id) for sequence in (1, 2, 3)] for order_id in range(1, ORDERS + 1)}
    broken = range(1, ORDERS + 1, 10)
    for order_id in broken:
        orders[order_id][1] = bad(2, order_id)
    lines = [order_id for order_id in orders for _ in range(CHANGES)]
    shuffled.shuffle(lines)
    events = [orders[order_id].pop(0) for order_id in lines]

    async def consume(size: int) -> None:
        consumer = notifier(storages())
        for start in range(0, len(events), size):
            await consumer.handle(events[max(0, start - size) : start + size])

    await asyncio.gather(consume(7), consume(11), consume(30))

    whole = [order_id for order_id in orders if order_id not in broken]
    assert Counter(told(logs)) == Counter(
        [(order_id, status) for order_id in whole for status in STATUSES] + [(order_id, "new") for order_id in broken]
    )
    assert Counter(told(logs, "event parked")) == Counter([(order_id, None) for order_id in broken] * 2)
    storage = storages()
    assert [await sequences(storage, order_id) for order_id in whole] == [[1, 2, 3]] * len(whole)
    assert Counter(await parked(storage)) == Counter(
        letter for order_id in broken for letter in [(f"{order_id}-2", "wrong"), (f"{order_id}-3", BEHIND)]
    )


# What is refused


@dataclass
class Refusing:
    """A storage that refuses the notifications of an order."""

    storage: Storage
    error: str
    mend: Callable[[], Awaitable[object]]


class RefusingMemory(MemoryStorage):
    is_mended = False

    async def record(self, batch: Sequence[Arrived]) -> Recorded:
        before = deepcopy(self._notifications)
        try:
            return await super().record(batch)
        except ValueError:
            self._notifications = before
            raise

    def _store(self, notification: Notification) -> None:
        if notification.order_id == REFUSED_ORDER and not self.is_mended:
            raise ValueError("secret")
        super()._store(notification)

    async def mend(self) -> None:
        self.is_mended = True


@pytest.fixture
async def refusing(way: Databases | None) -> AsyncIterator[Refusing]:
    if way is None:
        memory = RefusingMemory()
        yield Refusing(memory, "ValueError", memory.mend)
        return
    async with way("notifier") as connected, session(connected.dsn) as connection:

        async def mend() -> None:
            await connection.execute("ALTER TABLE notifications DROP CONSTRAINT IF EXISTS refused")

        await connection.execute(
            f"ALTER TABLE notifications ADD CONSTRAINT refused CHECK (order_id <> {REFUSED_ORDER})"
        )
        yield Refusing(PostgresStorage(connected.database), "CheckViolationError 23514", mend)
        await mend()


async def test_an_order_that_is_always_refused_is_parked_and_the_others_do_not_wait(
    refusing: Refusing, logs: Logs
) -> None:
    order_ids = [*range(1, REFUSED_ORDER + 8)]
    others = [order_id for order_id in order_ids if order_id != REFUSED_ORDER]
    for sequence in (1, 2, 3):
        await notifier(refusing.storage).handle([good(sequence, order_id) for order_id in order_ids])

    assert told(logs) == [(order_id, status) for status in STATUSES for order_id in others]
    assert await parked(refusing.storage) == [("13-1", refusing.error), ("13-2", BEHIND), ("13-3", BEHIND)]


async def test_what_was_refused_is_delivered_in_order_when_it_no_longer_is(refusing: Refusing, logs: Logs) -> None:
    notifications = notifier(refusing.storage)
    await notifications.handle([bad(1, REFUSED_ORDER), good(2, REFUSED_ORDER), bad(1)])

    assert await notifications.replay(mended) == Replayed(delivered=1, left=2)
    assert await parked(refusing.storage) == [("13-1", refusing.error), ("13-2", BEHIND)]
    await refusing.mend()
    assert await notifications.replay(mended) == Replayed(delivered=2, left=0)
    assert told(logs) == [(ORDER, "new"), (REFUSED_ORDER, "new"), (REFUSED_ORDER, "awaiting payment")]


# Replay


async def test_a_replay_delivers_everything_in_order_once(storage: Storage, logs: Logs) -> None:
    notifications = notifier(storage)
    batch = [good(1), bad(2), bad(1, OTHER_ORDER), good(3), good(2, OTHER_ORDER)]
    await notifications.handle(batch)

    assert await notifications.replay(mended) == Replayed(delivered=4, left=0)
    assert await notifications.replay(mended) == Replayed(delivered=0, left=0)
    await notifications.handle([mended(each.event) for each in batch])

    assert [status for order_id, status in told(logs) if order_id == ORDER] == [*STATUSES]
    assert [status for order_id, status in told(logs) if order_id == OTHER_ORDER] == ["new", "awaiting payment"]
    assert (await sequences(storage), await sequences(storage, OTHER_ORDER)) == ([1, 2, 3], [1, 2])
    assert await parked(storage) == []


async def test_after_its_last_letter_an_order_goes_on(storage: Storage) -> None:
    notifications = notifier(storage)
    await notifications.handle([bad(1)])
    await notifications.replay(mended)

    assert await recorded(storage, good(2)) == [notification(2)]


async def test_an_order_stops_at_its_first_letter_that_still_fails_and_the_others_go_on(storage: Storage) -> None:
    def mended_but_one(parked: Event) -> Arrived:
        return Arrived(parked, error="still wrong") if parked.id == "5-2" else mended(parked)

    notifications = notifier(storage)
    await notifications.handle([bad(1), bad(2), good(3), bad(1, OTHER_ORDER), bad(1, None), bad(2, None)])

    assert await notifications.replay(mended_but_one) == Replayed(delivered=2, left=4)
    assert await parked(storage) == [
        *(("5-2", "still wrong"), ("5-3", BEHIND)),
        *(("None-1", "no order"), ("None-2", "no order")),
    ]
    assert (await sequences(storage), await sequences(storage, OTHER_ORDER)) == ([1], [1])


async def test_a_letter_whose_change_was_notified_of_meanwhile_is_taken_away_and_not_told(
    storage: Storage, logs: Logs
) -> None:
    notifications = notifier(storage)
    await notifications.handle([bad(1, None), good(2)])

    assert await notifications.replay(lambda parked: Arrived(parked, notification(1))) == Replayed(1, 0)
    assert told(logs) == [(ORDER, "awaiting payment")]
    assert await parked(storage) == []


async def test_a_letter_is_delivered_once(storage: Storage) -> None:
    await storage.record([bad(1), good(2)])
    first, second = await storage.letters(0, PAGE)

    assert await storage.deliver(first, notification(1)) is Delivered.NEWS
    assert await storage.deliver(first, notification(2)) is Delivered.GONE
    await storage.keep(first, "late")
    assert await storage.deliver(second, notification(1)) is Delivered.KNOWN
    assert await sequences(storage) == [1]
    assert await parked(storage) == []


async def test_a_replay_that_is_overtaken_by_another_one_counts_only_what_it_has_delivered(
    storages: Storages, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = storages(), storages()
    await slow.record([bad(1), good(2)])
    deliver = slow.deliver

    async def overtaken(letter: Letter, news: Notification) -> Delivered:
        monkeypatch.setattr(slow, "deliver", deliver)
        assert await notifier(fast).replay(mended) == Replayed(delivered=2, left=0)
        return await deliver(letter, news)

    monkeypatch.setattr(slow, "deliver", overtaken)
    assert await notifier(slow).replay(mended) == Replayed(delivered=0, left=0)
    assert await sequences(slow) == [1, 2]


async def test_replays_while_events_come_lose_nothing_and_leave_nothing(storages: Storages, logs: Logs) -> None:
    order_ids = range(1, ORDERS + 1)
    await notifier(storages()).handle([bad(1, order_id) for order_id in order_ids])

    async def consume() -> None:
        consumer = notifier(storages())
        for sequence in (2, 3):
            for start in range(1, ORDERS + 1, 4):
                await consumer.handle([good(sequence, order_id) for order_id in range(start, start + 4)])

    async with asyncio.TaskGroup() as group:
        replays = [group.create_task(notifier(storages()).replay(mended)) for _ in range(2)]
        group.create_task(consume())

    first, second = (replay.result() for replay in replays)
    assert (first.left, second.left) == (0, 0)
    assert first.delivered + second.delivered == len(told(logs, "event parked"))
    assert Counter(told(logs)) == Counter((order_id, status) for order_id in order_ids for status in STATUSES)
    storage = storages()
    assert await parked(storage) == []
    assert [await sequences(storage, order_id) for order_id in order_ids] == [[1, 2, 3]] * ORDERS


# Who has an order in hand

WAITING = """
SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
LOCK = "SELECT FROM order_sequences WHERE order_id = $1 FOR UPDATE"
PARK = """
INSERT INTO dead_letters (event_id, order_id, partition, position, key, value, headers, error)
VALUES ($1, $2, 0, 1, '', '', '[]', 'wrong')
"""


async def waiting_or_done(work: asyncio.Task[T], connection: asyncpg.Connection) -> None:
    """Waits until it waits for a lock, or has ended."""

    async def waits() -> bool:
        return work.done() or bool(await connection.fetchval(WAITING))

    await until(waits)


async def test_a_batch_is_sorted_out_only_when_nobody_else_has_its_orders_in_hand(databases: Databases) -> None:
    async with databases("notifier") as connected, session(connected.dsn) as rival:
        storage = PostgresStorage(connected.database)
        await storage.record([good(1)])
        async with asyncio.TaskGroup() as group, rival.transaction():
            await rival.fetch(LOCK, ORDER)
            recording = group.create_task(storage.record([good(2), good(1, OTHER_ORDER)]))
            await waiting_or_done(recording, rival)
            await rival.execute(PARK, "rival", ORDER)

        assert recording.result().news == [notification(1, OTHER_ORDER)]
        assert await parked(storage) == [("rival", "wrong"), ("5-2", BEHIND)]


async def test_a_letter_is_delivered_only_when_nobody_else_has_its_order_in_hand(databases: Databases) -> None:
    async with databases("notifier") as connected, session(connected.dsn) as rival:
        storage = PostgresStorage(connected.database)
        await storage.record([bad(1)])
        [letter] = await storage.letters(0, PAGE)
        async with asyncio.TaskGroup() as group, rival.transaction():
            await rival.fetch(LOCK, ORDER)
            delivery = group.create_task(storage.deliver(letter, notification(1)))
            await waiting_or_done(delivery, rival)
            await rival.execute("UPDATE order_sequences SET last_sequence = 1")

        assert delivery.result() is Delivered.KNOWN
        assert await sequences(storage) == []


async def test_a_replay_delivers_what_somebody_was_parking_when_it_began(databases: Databases) -> None:
    async with databases("notifier") as connected, session(connected.dsn) as rival:
        storage = PostgresStorage(connected.database)
        await storage.record([bad(1)])
        async with asyncio.TaskGroup() as group, rival.transaction():
            await rival.fetch(LOCK, ORDER)
            await rival.execute(PARK, "5-2", ORDER)
            await storage.record([bad(1, OTHER_ORDER)])
            replay = group.create_task(notifier(storage).replay(mended))
            await waiting_or_done(replay, rival)

        assert replay.result() == Replayed(delivered=3, left=0)
        assert await sequences(storage) == [1, 2]


# A commit that is not answered


class LossyProxy:
    """Goes between clients and a server, and while it is told to, loses commits or the answers to them."""

    def __init__(self, dsn: str) -> None:
        self._dsn = urlsplit(dsn)
        self.losses = 0
        """How many more it loses, each with its connection."""
        self.loses_answers = True

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Gives the DSN of the database through it."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            user, _, _ = self._dsn.netloc.rpartition("@")
            port = server.sockets[0].getsockname()[1]
            yield self._dsn._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(self._dsn.hostname, self._dsn.port)
        lost = asyncio.Event()

        async def requests() -> None:
            while data := await from_client.read(CHUNK):
                if b"COMMIT;" in data and self.losses > 0:
                    self.losses -= 1
                    lost.set()
                    if not self.loses_answers:
                        break
                to_server.write(data)
            to_server.close()

        async def answers() -> None:
            while (data := await from_server.read(CHUNK)) and not lost.is_set():
                to_client.write(data)
            to_client.close()

        await asyncio.gather(requests(), answers())


@pytest.mark.parametrize("losses", [1, 2, 5, 7])
async def test_what_is_recorded_by_a_commit_that_was_not_answered_is_told_once(
    databases: Databases, losses: int, logs: Logs
) -> None:
    async with databases("notifier") as connected:
        proxy = LossyProxy(connected.dsn)
        async with proxy.serving() as url, database(url, "-", get_logger("tested"), 2) as lossy:
            await notifier(PostgresStorage(connected.database)).handle([good(1)])
            consumer = notifier(PostgresStorage(lossy))
            batch = [good(1), good(2), good(1, OTHER_ORDER), good(2)]
            proxy.losses = losses
            for more in ([], [good(3)], [good(3)]):
                with suppress(UnavailableError):
                    await consumer.handle([*batch, *more])
            assert proxy.losses == 0
            assert await sequences(PostgresStorage(connected.database)) == [1, 2, 3]

    assert told(logs) == [
        *((ORDER, "new"), (ORDER, "awaiting payment")),
        *((OTHER_ORDER, "new"), (ORDER, "payed")),
    ]


async def test_what_another_one_has_recorded_after_a_commit_that_was_lost_is_not_told_again(
    databases: Databases, logs: Logs
) -> None:
    async with databases("notifier") as connected:
        proxy = LossyProxy(connected.dsn)
        proxy.loses_answers = False
        async with proxy.serving() as url, database(url, "-", get_logger("tested"), 2) as lossy:
            consumer = notifier(PostgresStorage(lossy))
            proxy.losses = ATTEMPTS
            with pytest.raises(UnavailableError):
                await consumer.handle([good(1), good(2)])
            assert told(logs) == []

            await notifier(PostgresStorage(connected.database)).handle([good(1), good(2)])
            await consumer.handle([good(1), good(2), good(3)])

    assert told(logs) == [(ORDER, status) for status in STATUSES]


async def test_a_letter_that_is_delivered_by_a_commit_that_was_not_answered_is_told_once(
    databases: Databases, logs: Logs
) -> None:
    async with databases("notifier") as connected:
        proxy = LossyProxy(connected.dsn)
        async with proxy.serving() as url, database(url, "-", get_logger("tested"), 2) as lossy:
            notifications = notifier(PostgresStorage(lossy))
            await notifications.handle([bad(1), good(2)])
            proxy.losses = 1

            assert await notifications.replay(mended) == Replayed(delivered=2, left=0)
            assert proxy.losses == 0

    assert told(logs) == [(ORDER, "new"), (ORDER, "awaiting payment")]


# The command

QUIET = {"NOTIFIER_LOG_LEVEL": "error", "NOTIFIER_LOG_FORMAT": "json"}


async def command(*arguments: str, **settings: str) -> tuple[int | None, list[str], str]:
    """Exit code, lines of standard output and standard error of `python -m services.notifier`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.notifier", *arguments),
        cwd=ROOT,
        env=os.environ | QUIET | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode().splitlines(), errors.decode()


def message(sequence: int, status: str = "new", key: bytes = b"5") -> Received:
    value = b'{"order_id": 5, "status": "%s", "moment": "2026-01-02T12:00:00.678Z"}' % status.encode()
    event_id = f"00000000-0000-0000-0000-{sequence:012}".encode()
    headers = (("event-id", event_id), ("sequence", b"%d" % sequence), ("user-id", b"7"))
    return Received(Message(key, value, headers), 1, 40 + sequence)


async def test_the_command_lists_and_replays_what_is_parked(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def in_process(command: str) -> tuple[int, list[str], str]:
        code = await dead_letters(command)
        output, errors = capsys.readouterr()
        return code, output.splitlines(), errors

    async with databases("notifier") as connected:
        postgres = {"NOTIFIER_STORAGE": "postgres", "NOTIFIER_DATABASE_URL": connected.url}
        for name, value in (QUIET | postgres).items():
            monkeypatch.setenv(name, value)
        storage = PostgresStorage(connected.database)
        readable = Arrived(to_arrived(message(1)).event, error="not yet known")
        await storage.record([readable, to_arrived(message(2)), to_arrived(message(3, "paid"))])
        await storage.record([to_arrived(message(4, key=b"five"))])
        listed = await command("dead-letters", "list")
        replayed = await command("dead-letters", "replay")
        left = await in_process("list")
        assert await sequences(storage) == [1, 2]

        async with session(connected.dsn) as connection:
            await connection.execute("DELETE FROM dead_letters")
        nothing = await in_process("replay")
        none = await in_process("list")

    assert (listed[0], listed[2]) == (0, "")
    assert [line.partition(", parked ")[0] for line in listed[1]] == [
        *(f"order 5, sequence {sequence}, partition 1, offset {40 + sequence}" for sequence in (1, 2, 3)),
        "order unknown, sequence 4, partition 1, offset 44",
    ]
    assert [line.partition("Z: ")[2].partition(":")[0] for line in listed[1]] == [
        *("not yet known", BEHIND),
        *("status", "key"),
    ]
    assert replayed == (1, ["delivered 2, left 2"], "")
    assert left == (0, listed[1][2:], "")
    assert nothing == (0, ["delivered 0, left 0"], "")
    assert none == (0, ["no letters are parked"], "")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "NOTIFIER_STORAGE is not postgres"),
        ({"NOTIFIER_STORAGE": "postgres"}, "NOTIFIER_DATABASE_URL is not set"),
        (
            {"NOTIFIER_STORAGE": "postgres", "NOTIFIER_DATABASE_URL": "postgresql://127.0.0.1:1/notifier"},
            "look at NOTIFIER_DATABASE_URL",
        ),
        ({"NOTIFIER_STORAGE": "disk"}, "NOTIFIER_STORAGE="),
    ],
)
async def test_the_command_names_the_setting_that_is_to_be_mended(
    settings: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (QUIET | settings).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(StartError, match=told):
        await dead_letters("list")


async def test_the_command_tells_that_the_database_is_not_migrated(server: str) -> None:
    code, output, errors = await command(
        "dead-letters", "replay", NOTIFIER_STORAGE="postgres", NOTIFIER_DATABASE_URL=server
    )

    assert (code, output) == (2, [])
    assert errors == "cannot start: the database of NOTIFIER_DATABASE_URL has no dead letters: run `make migrate`\n"


async def test_the_command_tells_that_it_was_stopped_on_the_way(databases: Databases) -> None:
    async with databases("notifier") as connected, session(connected.dsn) as rival, rival.transaction():
        # A busy machine starts the command slowly.
        await rival.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        await rival.execute("LOCK TABLE dead_letters")
        code, output, errors = await command(
            "dead-letters", "replay", NOTIFIER_STORAGE="postgres", NOTIFIER_DATABASE_URL=connected.url
        )

    assert (code, output) == (1, [])
    assert errors == "stopped: somebody else has it in hand for too long\n"
