"""What tests do with connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
import pytest

Pair: TypeAlias = tuple[asyncpg.Connection, asyncpg.Connection]

PATIENCE_SECONDS = 20


async def rows(connection: asyncpg.Connection, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.fetch(statement, *arguments)]


@asynccontextmanager
async def refused(
    connection: asyncpg.Connection, error: type[asyncpg.PostgresError], constraint: str | None = None
) -> AsyncIterator[None]:
    """What is done in the block is refused for this reason; the transaction around it goes on."""
    with pytest.raises(error) as raised:
        async with connection.transaction():
            yield
    assert raised.value.constraint_name == constraint


async def wait_until_blocked(connection: asyncpg.Connection, by: asyncpg.Connection) -> None:
    """Waits until what the connection executes needs a lock that the other one has."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while by.get_server_pid() not in await by.fetchval("SELECT pg_blocking_pids($1)", connection.get_server_pid()):
            await asyncio.sleep(0.001)


async def is_held(connection: asyncpg.Connection, row: str) -> bool:
    """Whether a transaction of another connection holds the row that is there: `stocks WHERE sku = 1`."""
    return not await connection.fetch(f"SELECT FROM {row} FOR UPDATE SKIP LOCKED")
