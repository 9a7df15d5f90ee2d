"""The storages that a suite runs over: in memory, in PostgreSQL, and in PostgreSQL behind PgBouncer."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import pytest

from services.chassis.log import get_logger
from services.chassis.postgres import Database, database
from tests.pgbouncer import PgBouncer, running_pgbouncer
from tests.postgres import migrated_database, session

CONNECTIONS = 10
TABLES = """
SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables
WHERE schemaname = 'public' AND tablename <> 'schema_migrations'
"""
WAYS = ("memory", "postgres", "pgbouncer")


@dataclass(frozen=True)
class Connected:
    """An empty database of a service."""

    dsn: str
    """Past the pooler."""
    url: str
    """As the storage goes."""
    database: Database


Databases: TypeAlias = Callable[[str], AbstractAsyncContextManager[Connected]]


@pytest.fixture(scope="session")
def pooler(server: str) -> Iterator[PgBouncer]:
    """PgBouncer in front of it."""
    with running_pgbouncer(server) as pgbouncer:
        yield pgbouncer


@pytest.fixture(scope="session")
def migrated(server: str) -> Callable[[str], Awaitable[str]]:
    """Gives the DSN of a service's database, made at the first call."""
    made: dict[str, str] = {}

    async def dsn_of(service: str) -> str:
        if service not in made:
            made[service] = await migrated_database(server, service)
        return made[service]

    return dsn_of


@asynccontextmanager
async def emptied(dsn: str, url: str) -> AsyncIterator[Connected]:
    """The database of a DSN without its rows, reached by the URL."""
    async with session(dsn) as connection:
        await connection.execute(f"TRUNCATE {await connection.fetchval(TABLES)} RESTART IDENTITY")
    async with database(url, "TEST_DATABASE_URL", get_logger("tested"), CONNECTIONS) as connected:
        yield Connected(dsn, url, connected)


@pytest.fixture
def databases(migrated: Callable[[str], Awaitable[str]]) -> Databases:
    """Gives the empty database of a service."""

    @asynccontextmanager
    async def empty(service: str) -> AsyncIterator[Connected]:
        dsn = await migrated(service)
        async with emptied(dsn, dsn) as connected:
            yield connected

    return empty


@pytest.fixture
def pooled_databases(migrated: Callable[[str], Awaitable[str]], pooler: PgBouncer) -> Databases:
    """As `databases`, through PgBouncer."""

    @asynccontextmanager
    async def empty(service: str) -> AsyncIterator[Connected]:
        dsn = await migrated(service)
        async with emptied(dsn, pooler.url(dsn)) as connected:
            yield connected

    return empty


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Databases | None:
    """The databases of each way that a storage goes; None is the way in memory."""
    fixtures = {"postgres": "databases", "pgbouncer": "pooled_databases"}
    return request.getfixturevalue(fixtures[request.param]) if request.param != "memory" else None
