"""What tests of races share: how big they are, the shop that is raced for, and the storages that race."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg

from services.chassis.clock import Clock
from services.chassis.log import get_logger
from services.chassis.postgres import ATTEMPTS, Database, open_pool
from services.loms.postgres import PostgresStorage
from services.loms.usecases import Item, NewOrder, Orders
from tests.clock import FakeClock
from tests.postgres import session
from tests.storage import invariants
from tests.storage.conftest import Databases
from tests.waiting import until

PERCENT = int(os.environ.get("RACE_PERCENT", "10"))
"""How much of each race is run."""

NOW = FakeClock()()
TIME_TO_PAY = timedelta(minutes=10)
PATIENCE_SECONDS = 30
PATIENT = "lock_timeout=0&statement_timeout=0&deadlock_timeout=20"
"""Slow machines are no failures, and nobody has to wait long for a deadlock to be found."""


def part(full: int) -> int:
    """As much of it as is run."""
    return max(1, full * PERCENT // 100)


def order(*skus: int, count: int = 1, user_id: int = 7, request_id: UUID | None = None) -> NewOrder:
    return NewOrder(user_id, tuple(Item(sku, count) for sku in sorted(skus)), request_id)


def orders_of(storage: PostgresStorage, clock: Clock) -> Orders:
    return Orders(storage, clock, TIME_TO_PAY, get_logger("tested"))


@dataclass(frozen=True)
class Shop:
    """A database of LOMS that began with so many units of each sku."""

    dsn: str
    initial: Mapping[int, int]
    connection: asyncpg.Connection

    async def fill(self) -> None:
        """Makes its stock what it began with."""
        await self.connection.execute("TRUNCATE stocks")
        await self.connection.executemany("INSERT INTO stocks (sku, total) VALUES ($1, $2)", self.initial.items())

    async def broken(self) -> list[str]:
        """What does not hold in it now."""
        return await invariants.broken(self.connection, self.initial)

    async def statuses(self, sku: int) -> dict[str, int]:
        """How many orders of a sku have each status."""
        query = "SELECT status, count(*) FROM orders INNER JOIN order_items USING (order_id) WHERE sku = $1 GROUP BY 1"
        return {row[0]: row[1] for row in await self.connection.fetch(query, sku)}

    async def deadlocks(self) -> int:
        """How many were found in this database until now."""
        await until(self._racers_are_gone)  # what a session has counted is known when it has ended
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        found: int = await self.connection.fetchval(query)
        return found

    async def _racers_are_gone(self) -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> ''"
        found: int = await self.connection.fetchval(query)
        return found == 0

    @asynccontextmanager
    async def storage(
        self, connections: int = 10, name: str = "racer", attempts: int = ATTEMPTS
    ) -> AsyncIterator[PostgresStorage]:
        """A storage with connections of its own, whose sessions have this application_name."""
        url = f"{self.dsn}&application_name={name}&{PATIENT}"
        pool = await open_pool(url, connections, is_pooled=False, ready=connections, command_seconds=PATIENCE_SECONDS)
        async with pool:
            database = Database(pool, get_logger("tested"), attempts=attempts)
            try:
                yield PostgresStorage(database, database)
            finally:
                await database.idle()


@asynccontextmanager
async def shop(databases: Databases, initial: Mapping[int, int]) -> AsyncIterator[Shop]:
    """A database with so many units of each sku and nothing else."""
    async with databases("loms") as loms, opened(loms.dsn, initial) as raced:
        await raced.fill()
        yield raced


@asynccontextmanager
async def opened(dsn: str, initial: Mapping[int, int]) -> AsyncIterator[Shop]:
    """The shop that is in a database already."""
    async with session(f"{dsn}&{PATIENT}") as connection:
        yield Shop(dsn, initial, connection)
