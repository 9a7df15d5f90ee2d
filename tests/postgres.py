"""A PostgreSQL server on a free port, in a folder of its own, and databases in it."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from anyio.from_thread import start_blocking_portal

from services.chassis.migrations import migrate
from services.embedded_postgres import embedded_postgres
from tests.marketplace import ROOT, free_ports

_numbers = count(1)


@contextmanager
def running_postgres(**settings: str) -> Iterator[str]:
    """Starts a server with these settings (`synchronous_commit="on"`) and gives the DSN of its first database.

    What belongs to it is gone at the end.
    """
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    [port] = free_ports(1)
    server = embedded_postgres(folder, port, databases=(), durable=False, **settings)
    try:
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(server) as embedded:
            yield embedded.admin_url
    finally:
        shutil.rmtree(folder)


async def create_database(dsn: str, *scripts: str) -> str:
    """Makes one more database on the server, runs the scripts in it, and gives its DSN."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    await _run(dsn, f"CREATE DATABASE {name} STRATEGY file_copy")
    created = urlsplit(dsn)._replace(path=f"/{name}").geturl()
    await _run(created, *scripts)
    return created


async def migrated_database(dsn: str, service: str) -> str:
    """Makes one more database on the server, as a service finds it that starts again, and gives its DSN."""
    created = await create_database(dsn)
    await migrate(created, "TEST_DATABASE_URL", migrations_of(service))
    return created


def tables_of(service: str) -> list[str]:
    """The scripts that make the tables of this service, and nothing else."""
    return [file.read_text() for file in sorted(migrations_of(service).glob("*.sql"))]


def migrations_of(service: str) -> Path:
    return ROOT / "sql" / service / "migrations"


async def drop_database(dsn: str) -> None:
    """Takes away what create_database has made, with the connections that are left to it."""
    name = urlsplit(dsn).path.removeprefix("/")
    await _run(urlsplit(dsn)._replace(path="/postgres").geturl(), f"DROP DATABASE {name} WITH (FORCE)")


def up(migration: str) -> str:
    """The half of a migration of goose that leads forward."""
    return migration.partition("-- +goose Down")[0]


@asynccontextmanager
async def session(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that is closed at the end."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def undone(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection in a transaction, whose changes are gone at the end."""
    async with session(dsn) as connection:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()


async def _run(dsn: str, *scripts: str) -> None:
    async with session(dsn) as connection:
        for script in scripts:
            await connection.execute(script)
