"""The storages that a suite runs over: in memory and in PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import asyncpg
import pytest

from services.chassis.log import get_logger
from services.chassis.postgres import Database, database
from tests.marketplace import ROOT
from tests.postgres import create_database, running_postgres

CONNECTIONS = 10
TABLES = "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public'"

Databases: TypeAlias = "Callable[[str], AbstractAsyncContextManager[tuple[str, Database]]]"


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The DSN of a PostgreSQL server."""
    with running_postgres() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def migrated(server: str) -> "Callable[[str], Awaitable[str]]":
    """Gives the DSN of a service's database, made at the first call."""
    made: dict[str, str] = {}

    async def dsn_of(service: str) -> str:
        if service not in made:
            files = sorted((ROOT / "sql" / service / "migrations").glob("*.sql"))
            made[service] = await create_database(server, *(file.read_text() for file in files))
        return made[service]

    return dsn_of


@pytest.fixture
def databases(migrated: "Callable[[str], Awaitable[str]]") -> Databases:
    """Gives the empty database of a service, and its DSN."""

    @asynccontextmanager
    async def empty(service: str) -> AsyncIterator[tuple[str, Database]]:
        dsn = await migrated(service)
        connection = await asyncpg.connect(dsn)
        await connection.execute(f"TRUNCATE {await connection.fetchval(TABLES)} RESTART IDENTITY")
        await connection.close()
        async with database(dsn, "TEST_DATABASE_URL", get_logger("tested"), CONNECTIONS) as connected:
            yield dsn, connected

    return empty
