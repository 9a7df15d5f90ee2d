"""What may happen to those who send events: scenarios of any size, each of which tells what came of it."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf
from pathlib import Path
from statistics import quantiles
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer
from asyncpg.transaction import Transaction
from loms_db import orders

from services.chassis.clock import utc_now
from services.chassis.kafka import KafkaTopic
from services.loms.postgres import PostgresStorage
from services.loms.usecases import Orders
from services.notifier.events import to_notification
from tests.events.relays import (
    SKUS,
    USER,
    Books,
    Load,
    Loms,
    RolledBackError,
    Sent,
    Unreliable,
    Verdict,
    buy,
    buying,
    connected,
    ends,
    longest_pause,
    message_of,
    orders_of,
    reading,
    relaying,
    running_loms,
    sent_to,
    verdict,
)
from tests.kafka import Broker, Kafka, administrator
from tests.postgres import session
from tests.waiting import until

WRITERS = 32
DRAIN_SECONDS = 30
COMMIT_SECONDS = 5
SETTLED = 25
"""Orders after which what has changed shows."""
BEFORE_SECONDS = 0.5
"""Before the loss of a leader events were sent."""
NEVER = "3600"
WARM_UP = 300
"""The events that come while the first connections are made."""


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario."""

    verdict: Verdict
    errors: Sequence[str] = ()
    """Of orders."""
    seconds: Sequence[float] = ()
    """How long it took each time until events came again."""


@dataclass(frozen=True)
class Written:
    """What came of many transactions."""

    verdict: Verdict
    commits: int
    rolled_back: int


async def write_and_roll_back(books: Books, topic: KafkaTopic, number: int) -> Written:
    """Writers make, pay and cancel so many orders while a relay sends; some of their transactions are rolled back."""
    async with relaying(books, topic), connected(books, kind=Unreliable) as database:
        assert isinstance(database, Unreliable)
        shop = orders_of(PostgresStorage(database, database))
        numbers = iter(range(number))
        await asyncio.gather(*(write(shop, numbers) for _ in range(WRITERS)))
        await books.drained(DRAIN_SECONDS)
    committed = await books.committed()
    commits = sum(change.sequence > 1 for change in committed)  # the first two events of an order are one
    return Written(verdict(await sent_to(topic), committed), commits, database.rolled_back)


async def write(shop: Orders, numbers: Iterator[int]) -> None:
    for number in numbers:
        with suppress(RolledBackError):
            await buy(shop, number)


async def commit_backwards(books: Books, topic: KafkaTopic, times: int) -> Verdict:
    """Of four transactions one is rolled back and the others are committed last first, each after the other is sent."""
    async with relaying(books, topic), AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(session(books.dsn)) for _ in range(4)]
        for _ in range(times):
            transactions = [await create(*pair) for pair in zip(connections, SKUS, strict=False)]
            await transactions.pop(1).rollback()
            for transaction in reversed(transactions):
                await transaction.commit()
                await books.drained(COMMIT_SECONDS)
    return verdict(await sent_to(topic), await books.committed())


async def create(connection: asyncpg.Connection, sku: int) -> Transaction:
    """Creates an order in a transaction that is left open."""
    transaction = connection.transaction()
    await transaction.start()
    new = orders.CreateOrderParams(USER, None, b"", utc_now(), [sku], [1], None)
    await orders.AsyncQuerier(connection).create_order(new)
    return transaction


async def two_relays(books: Books, topic: KafkaTopic, number: int) -> Verdict:
    """Two relays share an outbox and nothing happens to them."""
    async with relaying(books, topic) as storage, relaying(books, topic):
        async with buying(orders_of(storage), rate=200) as load:
            await load.more(number)
        await books.drained(DRAIN_SECONDS)
    return verdict(await sent_to(topic), await books.committed())


async def kill_leaders(books: Books, topic: KafkaTopic, folder: Path, times: int) -> Outcome:
    """Of two processes the one that leads is killed and then replaced, so many times."""

    async def kill(leader: Loms, follower: Loms, _load: Load) -> None:
        leader.kill()
        await follower.until_it_leads()

    return await _lose_leaders(books, topic, folder, times, kill)


async def stop_leaders(books: Books, topic: KafkaTopic, folder: Path, times: int, number: int) -> Outcome:
    """Of two processes the one that leads stands still while so many orders come, so many times."""

    async def stop(leader: Loms, follower: Loms, load: Load) -> None:
        leader.send(signal.SIGSTOP)
        await follower.until_it_leads()
        await load.more(number)
        leader.send(signal.SIGCONT)
        await leader.until_it_leads(leads=False)

    return await _lose_leaders(books, topic, folder, times, stop)


Loss = Callable[[Loms, Loms, Load], Awaitable[None]]
"""Takes the lead from a leader, so that the follower has it."""


async def _lose_leaders(books: Books, topic: KafkaTopic, folder: Path, times: int, loss: Loss) -> Outcome:
    since = await ends(topic)
    errors: list[str] = []
    losses = []
    async with AsyncExitStack() as stack:

        async def another(name: str) -> Loms:
            return await stack.enter_async_context(running_loms(folder / name, books, topic))

        leader = await another("first")
        await leader.until_it_leads()
        follower = await another("second")
        for number in range(times):
            if not follower.is_alive:
                follower = await another(f"next-{number}")
            async with buying(follower.shop) as load:
                await load.more(SETTLED)
                losses.append(time.time())
                await loss(leader, follower, load)
                await load.more(SETTLED)
            errors += load.errors
            leader, follower = follower, leader
        await books.drained(DRAIN_SECONDS)
    sent = await sent_to(topic, since)
    return Outcome(
        verdict(sent, await books.committed()), errors, [takeover(sent, *times) for times in pairwise([*losses, inf])]
    )


def takeover(sent: Sequence[Sent], lost: float, lost_again: float) -> float:
    """How long nothing was sent when the leader was lost."""
    return longest_pause(one for one in sent if lost - BEFORE_SECONDS < one.at < lost_again)


async def lose_broker(
    kafka: Kafka, books: Books, topic: KafkaTopic, folder: Path, *, times: int, number: int
) -> Outcome:
    """The only broker is killed and starts again when so many orders have come, so many times."""
    [broker] = kafka.brokers
    since = await ends(topic)
    drains = []
    async with running_loms(folder / "loms", books, topic) as loms:
        async with buying(loms.shop) as load:
            for _ in range(times):
                await load.more(SETTLED)
                broker.kill()
                await load.more(number)
                await asyncio.to_thread(broker.start)
                drains.append(await books.drained(DRAIN_SECONDS))
        await books.drained(DRAIN_SECONDS)
    return Outcome(verdict(await sent_to(topic, since), await books.committed()), load.errors, drains)


async def lose_brokers(kafka: Kafka, books: Books, topic: KafkaTopic, folder: Path, order: Sequence[Broker]) -> Outcome:
    """Of three brokers one after another is killed and starts again."""
    since = await ends(topic)
    down: Broker | None = None
    async with running_loms(folder / "loms", books, topic) as loms:
        async with buying(loms.shop) as load:
            for broker in order:
                if down is not None:
                    await asyncio.to_thread(down.start)
                    await until(partial(_is_in_sync, topic, len(kafka.brokers)))
                await load.more(SETTLED)
                broker.kill()
                down = broker
                await load.more(SETTLED)
                await books.drained(DRAIN_SECONDS)
        await books.drained(DRAIN_SECONDS)
    sent = await sent_to(topic, since)
    return Outcome(verdict(sent, await books.committed()), load.errors, [longest_pause(sent)])


@dataclass(frozen=True)
class Latency:
    """How long events need from the change of their order to a consumer, in seconds."""

    p50: float
    p99: float
    number: int


async def measure_latency(books: Books, topic: KafkaTopic, folder: Path, rate: float, number: int) -> Latency:
    """So many orders come at a rate while a consumer reads."""
    seconds: list[float] = []

    async def consume(consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            told = to_notification(message_of(record))
            seconds.append(time.time() - told.moment.timestamp())

    async with running_loms(folder / "loms", books, topic) as loms, reading(topic) as consumer:
        await loms.until_it_leads()
        consuming = asyncio.create_task(consume(consumer))
        async with buying(loms.shop, rate) as load:
            await load.more(number)
        await books.drained(DRAIN_SECONDS)
        committed = len(await books.committed())

        async def have_come() -> bool:
            return len(seconds) >= committed

        await until(have_come)
        consuming.cancel()
        await asyncio.wait([consuming])
    measured = seconds[WARM_UP:]
    percentiles = quantiles(measured, n=100)
    return Latency(percentiles[49], percentiles[98], len(measured))


async def _is_in_sync(topic: KafkaTopic, replicas: int) -> bool:
    return all(len(partition["isr"]) == replicas for partition in await _partitions(topic))


async def leader_of(kafka: Kafka, topic: KafkaTopic) -> Broker:
    """The broker that leads the first partition of the topic."""
    number: int = (await _partitions(topic))[0]["leader"]
    return kafka.brokers[number]


async def _partitions(topic: KafkaTopic) -> list[dict[str, Any]]:
    async with administrator(topic.bootstrap) as admin:
        [described] = await admin.describe_topics([topic.name])
    return sorted(described["partitions"], key=lambda partition: int(partition["partition"]))


@dataclass(frozen=True)
class End:
    """How a process of LOMS has ended that was told to stop with events in its outbox."""

    exit_code: int
    seconds: float
    before: int
    left: int
    """How many events were in the outbox before, and how many are now."""
    verdict: Verdict | None
    """Of what is on the topic, if that can be asked."""


async def stop_with_backlog(
    books: Books, topic: KafkaTopic, folder: Path, number: int, lose: Callable[[], None] | None = None
) -> End:
    """LOMS is told to stop with the events of so many orders in its outbox, when it has lost its broker if told how."""
    since = await ends(topic)
    async with running_loms(folder / "loms", books, topic, LOMS_RELAY_INTERVAL_SECONDS=NEVER) as loms:
        await loms.until_it_leads()
        await buy(loms.shop, 0)
        await books.drained(DRAIN_SECONDS)
        async with connected(books) as database:
            shop = orders_of(PostgresStorage(database, database))
            await asyncio.gather(*(buy(shop, one) for one in range(number)))
        before = await books.backlog()
        if lose is not None:
            lose()
        began = time.monotonic()
        exit_code = await loms.stopped()
        seconds = time.monotonic() - began
    left = await books.backlog()
    judged = verdict(await sent_to(topic, since), await books.committed()) if lose is None else None
    return End(exit_code, seconds, before, left, judged)
