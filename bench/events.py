"""Events: how fast a full outbox drains through Kafka, how late a notification is, what is left in the table.

    python -m bench.events [--events 100000] [--seconds 20] [--long-events 0]

It needs the Kafka of `make setup-stack`. Everything is on this machine, the broker included.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import uvloop

from services.chassis.background import background, every
from services.chassis.bell import SharedBell
from services.chassis.bus import Received
from services.chassis.clock import utc_now
from services.chassis.kafka import KafkaConsumer, KafkaPublisher, KafkaTopic
from services.chassis.log import configure_logging, get_logger
from services.chassis.migrations import migrate
from services.chassis.postgres import database
from services.embedded_postgres import Embedded, embedded_postgres
from services.loms.__main__ import MIGRATIONS as LOMS
from services.loms.postgres import PostgresStorage
from services.loms.relay import LEAD_INTERVAL_SECONDS, Relay
from services.loms.usecases import Item, NewOrder
from services.notifier import postgres as notifier_postgres
from services.notifier.__main__ import MIGRATIONS as NOTIFIER
from services.notifier.events import to_arrived
from services.notifier.usecases import Arrived, Notifications, Recorded
from services.topics import TopicSettings, create_topics
from tests.kafka import running_kafka
from tests.marketplace import free_ports
from tests.waiting import until

TOPIC = "loms.order-events"
RATE = 100
"""Orders a second, when it is measured how late their notifications are."""
PORTION = 20_000
CATCH_UP_SECONDS = 300
AUTOVACUUM_SECONDS = 70
"""It looks at a table once a minute."""
FILL = """
INSERT INTO outbox (order_id, sequence, user_id, status, moment)
SELECT n, s, 1, CASE s WHEN 1 THEN 'new' ELSE 'awaiting payment' END::order_status, now()
FROM generate_series($1::bigint, $2::bigint) AS n, generate_series(1, 2) AS s
"""
STATE = """
SELECT
    pg_total_relation_size('outbox') AS bytes,
    (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'outbox') AS dead,
    (SELECT count(*) FROM outbox) AS rows
"""


@dataclass
class Bench:
    """LOMS' outbox, and the topic that it is sent to."""

    loms: asyncpg.Connection
    storage: PostgresStorage
    relay: Relay
    embedded: Embedded
    topic: KafkaTopic

    async def drain(self, orders: range) -> float:
        """How many events a second leave an outbox that is full of two for each of the orders."""
        await self.loms.execute(FILL, orders.start, orders.stop - 1)
        await self.relay.lead()
        started = time.monotonic()
        async with background(every(LEAD_INTERVAL_SECONDS, self.relay.lead, get_logger("bench"))):
            await self.relay.send_all()
        return 2 * len(orders) / (time.monotonic() - started)

    async def state(self) -> str:
        """What the table of the outbox takes."""
        state = await self.loms.fetchrow(STATE)
        assert state is not None
        return f"{state['bytes'] / 2**20:.1f} MiB, {state['dead']} dead rows, {state['rows']} rows"


@asynccontextmanager
async def opened(folder: Path, bootstrap: str) -> AsyncIterator[Bench]:
    log = get_logger("bench")
    [port] = free_ports(1)
    async with embedded_postgres(folder / "postgres", port) as embedded:
        urls = embedded.databases["loms"]
        await migrate(urls.direct_url, "LOMS_DATABASE_DIRECT_URL", LOMS, "loms_app")
        await create_topics(TopicSettings(kafka_bootstrap=bootstrap))
        connection = await asyncpg.connect(urls.direct_url)
        topic = KafkaTopic(bootstrap, TOPIC)
        publisher = KafkaPublisher(topic)
        async with database(urls.url, "LOMS_DATABASE_URL", log, 10) as connected:
            bell = SharedBell(connected, urls.direct_url, "outbox", log)
            storage = PostgresStorage(connected, connected, bell)
            yield Bench(connection, storage, Relay(storage, publisher, 0.25, log), embedded, topic)
            await publisher.close()
        await connection.close()


class Stopwatch(notifier_postgres.PostgresStorage):
    """The storage of the notifier, which remembers when it recorded what."""

    recorded_at: dict[tuple[int, int], float]

    async def record(self, batch: Sequence[Arrived]) -> Recorded:
        recorded = await super().record(batch)
        now = time.monotonic()
        self.recorded_at.update({(one.order_id, one.sequence): now for one in recorded.news})
        return recorded


async def lateness(bench: Bench, seconds: float) -> list[float]:
    """Milliseconds from the answer of an order to the notification of its last event, ascending."""
    log = get_logger("bench")
    urls = bench.embedded.databases["notifier"]
    await migrate(urls.direct_url, "NOTIFIER_DATABASE_DIRECT_URL", NOTIFIER, "notifier_app")
    await bench.loms.execute(
        "INSERT INTO stocks VALUES (1, 1000000000, 0) ON CONFLICT (sku) DO UPDATE SET total = 1000000000"
    )
    created_at: dict[int, float] = {}

    async def order() -> None:
        created = await bench.storage.create(NewOrder(1, (Item(1, 1),)), utc_now())
        created_at[created.order_id] = time.monotonic()

    async with database(urls.url, "NOTIFIER_DATABASE_URL", log, 10) as connected:
        stopwatch = Stopwatch(connected)
        stopwatch.recorded_at = {}
        notifications = Notifications(stopwatch, log)

        async def handle(batch: Sequence[Received]) -> None:
            await notifications.handle([to_arrived(received) for received in batch])

        async def consume() -> None:
            await KafkaConsumer(bench.topic, "bench").consume(handle, log)

        loops = (every(LEAD_INTERVAL_SECONDS, bench.relay.lead, log), bench.relay.run, consume)
        async with background(*loops):
            await _until_notified(bench, stopwatch)
            async with asyncio.TaskGroup() as group:
                for _ in range(round(seconds * RATE)):
                    group.create_task(order())
                    await asyncio.sleep(max(0.0, 1 / RATE - (time.monotonic() * RATE % 1) / RATE))

            async def are_notified() -> bool:
                return all((order_id, 2) in stopwatch.recorded_at for order_id in created_at)

            await until(are_notified)
    return sorted((stopwatch.recorded_at[order_id, 2] - at) * 1000 for order_id, at in created_at.items())


async def _until_notified(bench: Bench, stopwatch: Stopwatch) -> None:
    """Waits until the consumer has handled what was there before."""
    created = await bench.storage.create(NewOrder(1, (Item(1, 1),)), utc_now())

    async def is_notified() -> bool:
        return (created.order_id, 2) in stopwatch.recorded_at

    await until(is_notified, CATCH_UP_SECONDS)


async def measure(bench: Bench, events: int, seconds: float, long_events: int) -> None:
    portion, first, rates = events // 5, 10**9, []
    for number in range(5):
        rates.append(await bench.drain(range(first, first + portion // 2)))
        first += portion
        print(f"drained {number + 1} of 5", file=sys.stderr)
    spread = f"({min(rates):,.0f} to {max(rates):,.0f})"
    print(f"outbox of {portion:,} events: {statistics.median(rates):,.0f} events/s {spread}")

    late = await lateness(bench, seconds)
    p50, p99 = late[len(late) // 2], late[len(late) * 99 // 100]
    print(f"{RATE} orders/s for {seconds:.0f} s: notified {p50:.0f} ms after the commit (p50), {p99:.0f} ms (p99)")

    for done in range(PORTION, long_events + 1, PORTION):
        await bench.drain(range(first, first + PORTION // 2))
        first += PORTION
        print(f"{done:,} of {long_events:,}: {await bench.state()}", file=sys.stderr)
    if long_events:
        await asyncio.sleep(AUTOVACUUM_SECONDS)
        print(f"outbox after {long_events:,} events: {await bench.state()}")


async def run(arguments: argparse.Namespace, folder: Path, bootstrap: str) -> None:
    async with opened(folder, bootstrap) as bench:
        await measure(bench, arguments.events, arguments.seconds, arguments.long_events)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.events")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--long-events", type=int, default=0, help="how many more pass through the outbox")
    arguments = parser.parse_args()
    configure_logging("error", "json")
    with running_kafka() as kafka, tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL does not run as root, and its user has to get there
        uvloop.run(run(arguments, Path(folder), kafka.bootstrap))


if __name__ == "__main__":
    main()
