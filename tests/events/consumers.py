"""What tests of consumers share: events of orders, notifiers that receive them, and what has to be recorded then."""

import asyncio
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.group import LeaveGroupRequest
from pydantic import SecretStr

from services.chassis.bus import Message
from services.chassis.clock import utc_now
from services.chassis.kafka import KafkaConsumer, KafkaPublisher, KafkaTopic
from services.loms.events import to_message
from services.loms.usecases import Status, StatusChanged
from services.notifier.__main__ import notifier
from tests.events.relays import ends, reading
from tests.kafka import administrator
from tests.marketplace import START_SECONDS, Program, free_ports, started
from tests.postgres import migrated_database, session
from tests.settings import FREE, NotifierSettings
from tests.waiting import until

STATUSES = (Status.NEW, Status.AWAITING_PAYMENT, Status.PAYED)
USER = 7
TOGETHER = 100
"""Orders whose events are mixed."""
CHUNK = 25
RATE = 500
REPEATED_EACH, REPEATED_LATER = 50, 120
HANDLE_SECONDS = 60
LINE = "order status changed"

TOLD = """
ALTER TABLE notifications
DROP CONSTRAINT notifications_pkey,
ADD COLUMN place bigint GENERATED ALWAYS AS IDENTITY,
ADD COLUMN recorded_at timestamptz DEFAULT clock_timestamp()
"""
"""Lets the table tell in which order and when its rows came, and take one twice."""
SLOW = """
CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END';
CREATE TRIGGER slow BEFORE INSERT ON notifications FOR EACH {each} EXECUTE FUNCTION take_time();
"""
RECORDED = "SELECT order_id, sequence, status FROM notifications ORDER BY place"
COUNT = "SELECT count(*) FROM notifications"
IS_RECORDING = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')"
)

_order_ids = count(1)

Told = tuple[int, int, str]
"""An order, a sequence and a status."""


@dataclass(frozen=True)
class Verdict:
    """What has become of the events of orders."""

    missing: Sequence[Told]
    """Events without a notification."""
    unknown: Sequence[Told]
    """Notifications of no event."""
    repeated: Sequence[Told]
    """Those that are there more than once."""
    disordered: Sequence[int]
    """Orders whose notifications did not come in the order of their events."""

    @property
    def is_kept(self) -> bool:
        """Whether each event has its notification, once and in order, and nothing else is there."""
        return not (self.missing or self.unknown or self.repeated or self.disordered)


def verdict(recorded: Sequence[Told], changes: Iterable[StatusChanged]) -> Verdict:
    """Judges notifications, which are in the order in which they came."""
    expected = {told(change) for change in changes}
    sequences: dict[int, list[int]] = defaultdict(list)
    for order_id, sequence, _ in recorded:
        sequences[order_id].append(sequence)
    return Verdict(
        missing=sorted(expected - set(recorded)),
        unknown=sorted(set(recorded) - expected),
        repeated=sorted(each for each, times in Counter(recorded).items() if times > 1),
        disordered=[order_id for order_id, came in sequences.items() if came != sorted(came)],
    )


def told(change: StatusChanged) -> Told:
    return change.order_id, change.sequence, change.status.value


def history(events: int) -> list[StatusChanged]:
    """At most so many events, three for each of new orders; those of many orders are mixed."""
    order_ids = [next(_order_ids) for _ in range(events // len(STATUSES))]
    return [
        StatusChanged(0, uuid4(), order_id, sequence, USER, status, utc_now())
        for first in range(0, len(order_ids), TOGETHER)
        for sequence, status in enumerate(STATUSES, 1)
        for order_id in order_ids[first : first + TOGETHER]
    ]


def with_repeats(changes: Sequence[StatusChanged]) -> Iterator[StatusChanged]:
    """Every fiftieth event comes again, when later ones of its order have come."""
    for place, change in enumerate(changes):
        yield change
        if place % REPEATED_EACH == 0:
            yield changes[max(0, place - REPEATED_LATER)]


async def feed(
    topic: KafkaTopic,
    changes: Iterable[StatusChanged],
    rate: float = RATE,
    as_message: Callable[[StatusChanged], Message] = to_message,
) -> None:
    """Sends events, so many a second. The moment of each is that of its sending."""
    publisher = KafkaPublisher(topic)
    waiting = list(changes)
    began = time.monotonic()
    try:
        for first in range(0, len(waiting), CHUNK):
            await asyncio.sleep(began + first / rate - time.monotonic())
            chunk = waiting[first : first + CHUNK]
            await publisher.publish([as_message(replace(change, moment=utc_now())) for change in chunk])
    finally:
        await publisher.close()


class Inbox:
    """A database of the notifier, read past it."""

    def __init__(self, dsn: str, connection: asyncpg.Connection) -> None:
        self.dsn = dsn
        self.connection = connection

    async def verdict(self, changes: Iterable[StatusChanged]) -> Verdict:
        """What it has of these events."""
        return verdict([tuple(row) for row in await self.connection.fetch(RECORDED)], changes)

    async def size(self) -> int:
        """How many notifications it has."""
        size: int = await self.connection.fetchval(COUNT)
        return size

    async def until_it_has(self, notifications: int, seconds: float = HANDLE_SECONDS) -> None:
        """Waits for so many notifications in all."""

        async def are_there() -> bool:
            return await self.size() >= notifications

        await until(are_there, seconds)

    async def until_it_records(self, most: int) -> bool:
        """Waits until somebody records a batch, for which it has to be made slow. False if it has the most that can
        come: then nobody will.
        """
        is_recording = False

        async def is_decided() -> bool:
            nonlocal is_recording
            is_recording = bool(await self.connection.fetchval(IS_RECORDING))
            return is_recording or await self.size() == most

        await until(is_decided, HANDLE_SECONDS)
        return is_recording

    async def slow_down(self, seconds: float, each: str = "ROW") -> None:
        """Each row or each STATEMENT of notifications takes so long."""
        await self.connection.execute(SLOW.format(seconds=seconds, each=each))

    async def speed_up(self) -> None:
        await self.connection.execute("DROP TRIGGER slow ON notifications")


@asynccontextmanager
async def new_inbox(server: str) -> AsyncIterator[Inbox]:
    """A new database."""
    dsn = await migrated_database(server, "notifier")
    async with session(dsn) as connection:
        await connection.execute(TOLD)
        yield Inbox(dsn, connection)


@dataclass(frozen=True)
class Group:
    """A consumer group that has handled what was in the topic before."""

    topic: KafkaTopic
    name: str
    begin: Mapping[TopicPartition, int]
    """Where it began."""

    async def handled(self) -> int:
        """How many messages will not come to it again."""
        async with administrator(self.topic.bootstrap) as admin:
            committed = await self._committed(admin)
        return sum(committed[partition] - offset for partition, offset in self.begin.items())

    async def until_it_has_handled_all(self) -> None:
        async with administrator(self.topic.bootstrap) as admin, reading(self.topic) as reader:

            async def has_handled_all() -> bool:
                offsets: Mapping[TopicPartition, int] = await reader.end_offsets(reader.assignment())
                return await self._committed(admin) == offsets

            await until(has_handled_all, HANDLE_SECONDS)

    async def until_it_has(self, members: int) -> None:
        """Waits until so many members share the partitions."""
        async with administrator(self.topic.bootstrap) as admin:

            async def are_there() -> bool:
                state, found = await self._described(admin)
                return state == "Stable" and len(found) == members

            await until(are_there)

    async def dismiss(self) -> None:
        """Tells it that all members are gone, which it would find out by itself after ten seconds."""
        async with administrator(self.topic.bootstrap) as admin:
            coordinator = await admin.find_coordinator(self.name)
            for member in (await self._described(admin))[1]:
                await admin._send_request(LeaveGroupRequest(self.name, member), coordinator)

    async def _committed(self, admin: AIOKafkaAdminClient) -> Mapping[TopicPartition, int]:
        committed = await admin.list_consumer_group_offsets(self.name)
        return {partition: found.offset for partition, found in committed.items()}

    async def _described(self, admin: AIOKafkaAdminClient) -> tuple[str, list[str]]:
        """Its state and the ids of its members."""
        [answer] = await admin.describe_consumer_groups([self.name])
        [group] = answer.to_object()["groups"]
        return group["state"], [member["member_id"] for member in group["members"]]


async def new_group(topic: KafkaTopic) -> Group:
    """A group that nobody has joined, at the end of the topic."""
    name = f"test-{uuid4()}"
    begin = await ends(topic)
    async with AIOKafkaConsumer(bootstrap_servers=topic.bootstrap, group_id=name, enable_auto_commit=False) as consumer:
        consumer.assign(list(begin))
        await consumer.commit(dict(begin))
    return Group(topic, name, begin)


def environment(inbox: Inbox, group: Group) -> dict[str, str]:
    """The settings of a process of the notifier."""
    port, side_port = free_ports(2)
    return {
        "NOTIFIER_LISTEN": f"127.0.0.1:{port}",
        "NOTIFIER_SIDE_LISTEN": f"127.0.0.1:{side_port}",
        "NOTIFIER_STORAGE": "postgres",
        "NOTIFIER_DATABASE_URL": inbox.dsn,
        "NOTIFIER_DATABASE_DIRECT_URL": inbox.dsn,
        "NOTIFIER_KAFKA_BOOTSTRAP": group.topic.bootstrap,
        "NOTIFIER_KAFKA_GROUP": group.name,
    }


@asynccontextmanager
async def running_notifier(log: Path, inbox: Inbox, group: Group) -> AsyncIterator[Program]:
    """A process of the notifier, which may not be ready yet. It is killed at the end."""
    with started(log, sys.executable, "-m", "services.notifier", **environment(inbox, group)) as program:
        yield program


async def dead_letters(command: str, log: Path, inbox: Inbox, group: Group) -> tuple[int, str]:
    """Does it to the letters of the database. Gives the exit code and what was printed."""
    words = (sys.executable, "-m", "services.notifier", "dead-letters", command)
    with started(log, *words, **environment(inbox, group)) as program:
        exit_code = await asyncio.to_thread(program.exit_code, START_SECONDS)
    return exit_code, log.read_text()


def logged(*logs: Path) -> Counter[tuple[int, str]]:
    """How often processes have told each status of each order."""
    lines = [line for log in logs for line in log.read_text().splitlines() if LINE in line]
    return Counter((line["order_id"], line["status"]) for line in map(json.loads, lines))


@asynccontextmanager
async def member(inbox: Inbox, group: Group) -> AsyncIterator[None]:
    """A notifier in this process."""
    url = SecretStr(inbox.dsn)
    settings = NotifierSettings(
        listen=FREE, side_listen=FREE, storage="postgres", database_url=url, database_direct_url=url
    )
    async with notifier(settings, KafkaConsumer(group.topic, group.name)):
        yield


class Members:
    """Notifiers in this process, each of which can leave by itself."""

    def __init__(self, inbox: Inbox, group: Group) -> None:
        self._inbox, self._group = inbox, group
        self._tasks: list[asyncio.Task[None]] = []

    async def become(self, number: int) -> None:
        """So many are there then; the oldest leave first."""
        leaving = self._tasks[: max(0, len(self._tasks) - number)]
        await _ended(leaving)
        joining = [asyncio.create_task(self._stay()) for _ in range(number - len(self._tasks))]
        self._tasks = [*self._tasks[len(leaving) :], *joining]
        if number:
            await self._group.until_it_has(number)

    async def _stay(self) -> None:
        async with member(self._inbox, self._group):
            await asyncio.Event().wait()


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def members(inbox: Inbox, group: Group) -> AsyncIterator[Members]:
    """Nobody is there yet, and nobody after the block."""
    joined = Members(inbox, group)
    try:
        yield joined
    finally:
        await joined.become(0)


@asynccontextmanager
async def feeding(topic: KafkaTopic, changes: Iterable[StatusChanged], rate: float = RATE) -> AsyncIterator[None]:
    """Events come within the block; all of them have come after it."""
    async with asyncio.TaskGroup() as group:
        group.create_task(feed(topic, changes, rate))
        yield


def part_of(changes: Sequence[StatusChanged], length: int) -> Sequence[StatusChanged]:
    """Some that follow each other."""
    first = random.randrange(len(changes) - length + 1)
    return changes[first : first + length]
