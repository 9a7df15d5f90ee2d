"""Four doors to the same orders, each service with a database of its own on one durable PostgreSQL.

- gRPC: LOMS as it is shipped, access log and outbox relay included;
- gateway: the same LOMS over HTTP;
- bare: the statements of the storage behind grpc.aio, without the platform (bench/bare_loms.py);
- baseline: FastAPI and SQLAlchemy on uvicorn, over HTTP (bench/baseline).
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from urllib.parse import urlsplit

import asyncpg

from bench.load import SKUS, Transport
from bench.processes import cpu_seconds, cpu_seconds_of_family, free_address, start, stop
from services.chassis.migrations import migrate
from services.embedded_postgres import Database, embedded_postgres
from services.loms.__main__ import MIGRATIONS

START_SECONDS = 20
DRAIN_SECONDS = 10
POLL_SECONDS = 0.05
DISK = Path("/var/tmp")
"""Where a durable server has its data: /tmp may be memory."""
UNITS = 10**12
"""The stock of each sku: no order fails."""

UNSENT = "SELECT EXISTS (SELECT FROM outbox)"
EFFECTS = """
SELECT
    (SELECT count(*) FROM orders) AS orders,
    (SELECT count(*) FROM order_items) AS items,
    (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM outbox_id_seq) AS events,
    (SELECT sum(reserved)::bigint FROM stocks) AS reserved
"""


@dataclass(frozen=True)
class Program:
    """How a program is started, and where it listens then."""

    address: str
    command: list[str]
    settings: dict[str, str]


@dataclass(frozen=True)
class Cost:
    """CPU seconds, user + system."""

    service: float
    gateway: float
    postgres: float

    @property
    def served(self) -> float:
        return self.service + self.gateway + self.postgres

    def __sub__(self, before: "Cost") -> "Cost":
        return Cost(self.service - before.service, self.gateway - before.gateway, self.postgres - before.postgres)


@dataclass(frozen=True)
class Effects:
    """What a database has seen: rows of orders, of items and of the outbox, and units reserved."""

    orders: int
    items: int
    events: int
    reserved: int

    def __sub__(self, before: "Effects") -> "Effects":
        return Effects(
            self.orders - before.orders,
            self.items - before.items,
            self.events - before.events,
            self.reserved - before.reserved,
        )


@dataclass(frozen=True)
class Door:
    """A way to have orders served. `service`, `gateway` and `postgres` are pids."""

    name: str
    transport: Transport
    address: str
    database: asyncpg.Connection
    postgres: int
    service: int
    gateway: int | None = None
    drains: bool = False
    """Whether the service empties its outbox."""

    def cost(self) -> Cost:
        """What everything behind the door has needed so far."""
        gateway = 0 if self.gateway is None else cpu_seconds(self.gateway)
        return Cost(cpu_seconds(self.service), gateway, cpu_seconds_of_family(self.postgres))

    async def effects(self) -> Effects:
        """What its database has seen so far."""
        row = await self.database.fetchrow(EFFECTS)
        assert row is not None
        return Effects(*row)

    async def drained(self) -> None:
        """Waits until its events are sent, which is a part of the work."""
        async with asyncio.timeout(DRAIN_SECONDS):
            while self.drains and await self.database.fetchval(UNSENT):  # noqa: ASYNC110  no event tells it
                await asyncio.sleep(POLL_SECONDS)

    async def order_ids(self, limit: int) -> list[int]:
        """The orders to ask for."""
        rows = await self.database.fetch("SELECT order_id FROM orders ORDER BY order_id DESC LIMIT $1", limit)
        return [row[0] for row in rows]


@asynccontextmanager
async def open_doors() -> AsyncIterator[list[Door]]:
    """Everything is started and stocked; no order has been made."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=DISK))
    port = int(free_address().rpartition(":")[2])
    try:
        async with AsyncExitStack() as stack:
            postgres = await stack.enter_async_context(
                embedded_postgres(folder, port, databases=("loms", "bare", "baseline"))
            )
            urls = {name: database.direct_url for name, database in postgres.databases.items()}
            await migrate(urls["bare"], "the database of the bare prototype", MIGRATIONS)
            programs = all_programs(postgres.databases)
            pids = {}
            for name, process in stack.enter_context(running(programs)).items():
                await listening(name, programs[name].address, process)
                pids[name] = process.pid
            databases = {name: await stack.enter_async_context(stocked(url)) for name, url in urls.items()}
            loms, gateway, bare, baseline = (program.address for program in programs.values())
            yield [
                Door("gRPC", "grpc", loms, databases["loms"], postgres.pid, pids["loms"], drains=True),
                Door(
                    "gateway",
                    "http",
                    gateway,
                    databases["loms"],
                    postgres.pid,
                    pids["loms"],
                    gateway=pids["gateway"],
                    drains=True,
                ),
                Door("bare", "grpc", bare, databases["bare"], postgres.pid, pids["bare"]),
                Door("baseline", "http", baseline, databases["baseline"], postgres.pid, pids["baseline"]),
            ]
    finally:
        shutil.rmtree(folder)


def all_programs(databases: Mapping[str, Database]) -> dict[str, Program]:
    """What is started, by name."""
    loms, gateway, bare, baseline = (free_address() for _ in range(4))
    loms_settings = {
        "LOMS_LISTEN": loms,
        "LOMS_SIDE_LISTEN": free_address(),
        "LOMS_STORAGE": "postgres",
        "LOMS_DATABASE_URL": databases["loms"].url,
        "LOMS_DATABASE_DIRECT_URL": databases["loms"].direct_url,
        "LOMS_PAYMENT_MINUTES": "1440",  # no order expires while it is measured
    }
    gateway_settings = {
        "GATEWAY_LISTEN": gateway,
        "GATEWAY_SIDE_LISTEN": free_address(),
        "GATEWAY_LOMS_ADDRESS": loms,
    }
    bare_command = [sys.executable, "-m", "bench.bare_loms", bare, databases["bare"].direct_url]
    host, _, port = baseline.partition(":")
    baseline_command = [
        *(sys.executable, "-m", "uvicorn", "bench.baseline.app:app", "--host", host, "--port", port),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    ]
    baseline_url = urlsplit(databases["baseline"].direct_url)._replace(scheme="postgresql+asyncpg", query="ssl=disable")
    return {
        "loms": Program(loms, [sys.executable, "-m", "services.loms"], loms_settings),
        "gateway": Program(gateway, ["bin/gateway"], gateway_settings),
        "bare": Program(bare, bare_command, {}),
        "baseline": Program(baseline, baseline_command, {"BASELINE_DATABASE_URL": baseline_url.geturl()}),
    }


@contextmanager
def running(programs: Mapping[str, Program]) -> Iterator[dict[str, Popen[str]]]:
    """Runs programs. What they log goes into a pipe that is read, as in production."""
    log_reader = Popen(["cat"], stdin=PIPE, stdout=DEVNULL, text=True)
    assert log_reader.stdin is not None
    started: dict[str, Popen[str]] = {}
    try:
        for name, program in programs.items():
            started[name] = start(program.command, program.settings, log_reader.stdin)
        yield started
    finally:
        stop(list(started.values()))
        log_reader.communicate()


async def listening(name: str, address: str, process: Popen[str]) -> None:
    """Waits until the program listens there. Raises RuntimeError when it has ended instead."""
    host, _, port = address.partition(":")
    async with asyncio.timeout(START_SECONDS):
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"{name} has ended")
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                await asyncio.sleep(POLL_SECONDS)
            else:
                writer.close()
                return


@asynccontextmanager
async def stocked(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database, in which there is plenty of each sku that will be ordered."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "INSERT INTO stocks (sku, total, reserved) SELECT sku, $1, 0 FROM generate_series($2::bigint, $3) AS sku",
            UNITS,
            SKUS[0],
            SKUS[-1],
        )
        yield connection
    finally:
        await connection.close()
