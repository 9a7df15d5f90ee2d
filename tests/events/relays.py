"""What tests of relays share: LOMS as a process, orders that come meanwhile, and what the topic has to have then."""

import asyncio
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Protocol, TypeVar

import asyncpg
import grpc
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from marketplace.loms.v1 import loms_pb2 as pb
from marketplace.loms.v1.events_pb2 import OrderEvent
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub

from services.chassis.background import background, every
from services.chassis.bus import Message
from services.chassis.clock import utc_now
from services.chassis.contract import event
from services.chassis.kafka import KafkaPublisher, KafkaTopic
from services.chassis.log import get_logger
from services.chassis.postgres import Connection, Database, open_pool
from services.loms.postgres import PostgresStorage
from services.loms.relay import LEAD_INTERVAL_SECONDS, Relay
from services.loms.usecases import Item, Orders
from services.notifier.events import to_notification
from services.topics import TopicSettings, create_topics
from tests.marketplace import Program, free_ports, started
from tests.postgres import migrated_database, session
from tests.waiting import WAIT_SECONDS, until

T = TypeVar("T")

POLICY = event(OrderEvent.DESCRIPTOR)
USER = 7
SKUS = range(1, 1001)
STOCK = "INSERT INTO stocks (sku, total) SELECT generate_series(1, 1000), 1000000"
ORDERS = "SELECT order_id, sequence, status FROM orders"
BACKLOG = "SELECT count(*) FROM outbox"
LAST = "SELECT coalesce(max(id), 0) FROM outbox"
IS_THERE = "SELECT EXISTS (SELECT FROM outbox WHERE id <= $1)"
INTERVAL_SECONDS = 0.05
READ_SECONDS = 60
CALL_SECONDS = 10
STOP_SECONDS = 60
LEADS, FOLLOWS = "relay leads", "relay follows"
LOG = get_logger("tested")


@dataclass(frozen=True, order=True)
class Change:
    """A status that an order got, as its event tells it."""

    order_id: int
    sequence: int
    status: str


@dataclass(frozen=True)
class Sent:
    """An event in the topic, and when it was given to the producer."""

    change: Change
    at: float


@dataclass(frozen=True)
class Verdict:
    """What a topic has made of the changes that are committed."""

    lost: Sequence[Change]
    """Those without an event."""
    ghosts: Sequence[Change]
    """Events of changes that are not committed."""
    disordered: Sequence[int]
    """Orders whose events are not 1, 2, 3 for who drops what is not above the last one."""
    repeated: int
    """How many events came once more."""

    @property
    def is_kept(self) -> bool:
        """Whether everything is told, nothing else, and in order."""
        return not (self.lost or self.ghosts or self.disordered)


def verdict(sent: Sequence[Sent], committed: Iterable[Change]) -> Verdict:
    """Judges the events of a topic, which are in the order of their partitions."""
    told, written = {one.change for one in sent}, set(committed)
    return Verdict(
        lost=sorted(written - told),
        ghosts=sorted(told - written),
        disordered=[order_id for order_id, kept in kept_by_order(sent).items() if kept != [*range(1, len(kept) + 1)]],
        repeated=len(sent) - len(told),
    )


def kept_by_order(sent: Iterable[Sent]) -> Mapping[int, list[int]]:
    """The sequences of each order without those that are not above the last one, as the notifier keeps them."""
    kept: dict[int, list[int]] = defaultdict(list)
    for one in sent:
        sequences = kept[one.change.order_id]
        if not sequences or one.change.sequence > sequences[-1]:
            sequences.append(one.change.sequence)
    return kept


def longest_pause(sent: Iterable[Sent]) -> float:
    """The longest time within which nothing was sent."""
    return max((after - before for before, after in pairwise(sorted(one.at for one in sent))), default=0)


@dataclass(frozen=True)
class Books:
    """A database of LOMS, read past it."""

    dsn: str

    async def committed(self) -> list[Change]:
        """Every change of every order."""
        rows = await self.ask(lambda connection: connection.fetch(ORDERS))
        return [change for row in rows for change in changes(*row)]

    async def backlog(self) -> int:
        """How many events are not known to be sent."""
        waiting: int = await self.ask(lambda connection: connection.fetchval(BACKLOG))
        return waiting

    async def drained(self, seconds: float) -> float:
        """Waits until all events that are there now are known to be sent. Gives how long that took."""
        began = time.monotonic()

        async def wait(connection: asyncpg.Connection) -> None:
            last = await connection.fetchval(LAST)

            async def are_sent() -> bool:
                return not await connection.fetchval(IS_THERE, last)

            await until(are_sent, seconds)

        await self.ask(wait)
        return time.monotonic() - began

    async def ask(self, question: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        async with session(self.dsn) as connection:
            return await question(connection)


def changes(order_id: int, sequence: int, status: str) -> list[Change]:
    """Those that have led an order where it stands."""
    statuses = (*("new", "awaiting payment")[: sequence - 1], status)
    return [Change(order_id, number, status) for number, status in enumerate(statuses, 1)]


async def new_books(server: str) -> Books:
    """A new database with a thousand skus in stock."""
    books = Books(await migrated_database(server, "loms"))
    await books.ask(lambda connection: connection.execute(STOCK))
    return books


async def order_events(bootstrap: str, replicas: int = 1) -> KafkaTopic:
    """The topic that LOMS sends to, made as it is made in production."""
    await create_topics(TopicSettings(kafka_bootstrap=bootstrap, kafka_replication_factor=replicas))
    return KafkaTopic(bootstrap, POLICY.topic)


@asynccontextmanager
async def reading(topic: KafkaTopic) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of all partitions of the topic, from their beginnings."""
    async with AIOKafkaConsumer(bootstrap_servers=topic.bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic.name, partition) for partition in range(POLICY.partitions)])
        yield consumer


async def ends(topic: KafkaTopic) -> Mapping[TopicPartition, int]:
    """Where the partitions of the topic end."""
    async with reading(topic) as consumer:
        offsets: Mapping[TopicPartition, int] = await consumer.end_offsets(consumer.assignment())
        return offsets


async def sent_to(topic: KafkaTopic, since: Mapping[TopicPartition, int] | None = None) -> list[Sent]:
    """What is in the topic now, or what is there since then."""
    sent: list[Sent] = []
    async with asyncio.timeout(READ_SECONDS), reading(topic) as consumer:
        for partition, offset in (since or {}).items():
            consumer.seek(partition, offset)
        for partition, end in (await consumer.end_offsets(consumer.assignment())).items():
            while await consumer.position(partition) < end:
                records = await consumer.getmany(partition, timeout_ms=1000)
                sent += map(read, records.get(partition, []))
    return sent


def read(record: ConsumerRecord[bytes, bytes]) -> Sent:
    """An event, which has to be as the contract says."""
    told = to_notification(message_of(record))
    return Sent(Change(told.order_id, told.sequence, told.status), record.timestamp / 1000)


def message_of(record: ConsumerRecord[bytes, bytes]) -> Message:
    return Message(record.key or b"", record.value or b"", tuple(record.headers))


class Shop(Protocol):
    """Where orders are made."""

    async def create(self, user_id: int, items: Sequence[Item]) -> int: ...
    async def pay(self, order_id: int) -> None: ...
    async def cancel(self, order_id: int) -> None: ...


async def buy(shop: Shop, number: int) -> None:
    """The life of an order: of three one is paid, one is cancelled and one stays as it is."""
    order_id = await shop.create(USER, [Item(random.choice(SKUS), 1)])
    end = (shop.pay, shop.cancel, None)[number % 3]
    if end is not None:
        await end(order_id)


@dataclass
class Load:
    """Orders that come at a rate."""

    begun: int = 0
    errors: list[str] = field(default_factory=list)

    async def more(self, orders: int) -> None:
        """Waits until so many more have come."""
        enough = self.begun + orders

        async def have_come() -> bool:
            return self.begun >= enough

        await until(have_come, WAIT_SECONDS + orders / 10)


@asynccontextmanager
async def buying(shop: Shop, rate: float = 50) -> AsyncIterator[Load]:
    """Orders come within the block, so many a second; those that have begun are at their end after it."""
    load = Load()
    began = time.monotonic()

    async def one(number: int) -> None:
        try:
            await buy(shop, number)
        except Exception as error:  # noqa: BLE001  whatever it is, it is told
            load.errors.append(repr(error))

    running: list[asyncio.Task[None]] = []

    async def come() -> None:
        for number in count():
            await asyncio.sleep(began + number / rate - time.monotonic())
            running.append(asyncio.create_task(one(number)))
            load.begun += 1

    coming = asyncio.create_task(come())
    try:
        yield load
    finally:
        coming.cancel()
        await asyncio.wait([coming, *running])


class Stub:
    """LOMS as its callers have it."""

    def __init__(self, stub: LomsServiceStub) -> None:
        self._stub = stub

    async def create(self, user_id: int, items: Sequence[Item]) -> int:
        lines = [pb.OrderItem(sku=item.sku, count=item.count) for item in items]
        request = pb.OrderCreateRequest(user_id=user_id, items=lines)
        return (await self._stub.OrderCreate(request, timeout=CALL_SECONDS)).order_id

    async def pay(self, order_id: int) -> None:
        await self._stub.OrderPay(pb.OrderPayRequest(order_id=order_id), timeout=CALL_SECONDS)

    async def cancel(self, order_id: int) -> None:
        await self._stub.OrderCancel(pb.OrderCancelRequest(order_id=order_id), timeout=CALL_SECONDS)


@dataclass(frozen=True)
class Loms:
    """A process of LOMS."""

    program: Program
    shop: Shop

    def send(self, number: signal.Signals) -> None:
        self.program.process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once."""
        self.program.process.kill()
        self.program.process.wait()

    async def stopped(self) -> int:
        """Tells it to stop. Gives its exit code."""
        self.send(signal.SIGTERM)
        return await asyncio.to_thread(self.program.exit_code, STOP_SECONDS)

    @property
    def is_alive(self) -> bool:
        return self.program.process.poll() is None

    @property
    def leads(self) -> bool:
        """Whether its relay says that it leads."""
        log = self.program.log.read_text()
        return log.rfind(LEADS) > log.rfind(FOLLOWS)

    async def until_it_leads(self, *, leads: bool = True) -> None:
        async def is_so() -> bool:
            return self.leads == leads

        await until(is_so)


@asynccontextmanager
async def running_loms(log: Path, books: Books, topic: KafkaTopic, **more: str) -> AsyncIterator[Loms]:
    """A process of LOMS that works in the database and sends to the topic."""
    port, side_port = free_ports(2)
    settings = {
        "LOMS_LISTEN": f"127.0.0.1:{port}",
        "LOMS_SIDE_LISTEN": f"127.0.0.1:{side_port}",
        "LOMS_STORAGE": "postgres",
        "LOMS_DATABASE_URL": books.dsn,
        "LOMS_DATABASE_DIRECT_URL": books.dsn,
        "LOMS_KAFKA_BOOTSTRAP": topic.bootstrap,
    }
    with started(log, sys.executable, "-m", "services.loms", **settings | more) as program:
        await asyncio.to_thread(program.answer, f"http://127.0.0.1:{side_port}/readyz")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Loms(program, Stub(LomsServiceStub(channel)))


class RolledBackError(Exception):
    """A transaction that was to be rolled back is."""


class Unreliable(Database):
    """Rolls some of its transactions back when all of their work is done."""

    share = 0.05
    rolled_back = 0

    async def write(self, work: Callable[[Connection], Awaitable[T]], *, repeatable: bool) -> T:
        if random.random() >= self.share:
            return await super().write(work, repeatable=repeatable)

        async def in_vain(connection: Connection) -> T:
            async with connection.transaction():
                await work(connection)
                raise RolledBackError

        self.rolled_back += 1
        return await super().write(in_vain, repeatable=repeatable)


@asynccontextmanager
async def connected(books: Books, connections: int = 10, kind: type[Database] = Database) -> AsyncIterator[Database]:
    """Connections of its own to the database."""
    async with await open_pool(books.dsn, connections, is_pooled=False, ready=connections) as pool:
        database = kind(pool, LOG)
        try:
            yield database
        finally:
            await database.idle()


def orders_of(storage: PostgresStorage) -> Orders:
    return Orders(storage, utc_now, timedelta(minutes=10), LOG)


@asynccontextmanager
async def relaying(books: Books, topic: KafkaTopic) -> AsyncIterator[PostgresStorage]:
    """A relay with connections and a producer of its own."""
    async with connected(books, 4) as database:
        storage = PostgresStorage(database, database)
        publisher = KafkaPublisher(topic)
        relay = Relay(storage, publisher, INTERVAL_SECONDS, LOG)
        try:
            async with background(every(LEAD_INTERVAL_SECONDS, relay.lead, LOG), relay.run):
                yield storage
        finally:
            await publisher.close()
