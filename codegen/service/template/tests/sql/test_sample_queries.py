"""What each query of the sample service gives, and which rows it changes."""

import asyncpg
import pytest
from sample_db import entries
from sample_db.models import Entry

from tests.sql.connections import refused, rows

pytestmark = pytest.mark.asyncio(loop_scope="session")

USER, OTHER_USER = 7, 8


async def add(connection: asyncpg.Connection, user_id: int, *skus: int) -> None:
    """Stores entries, in this order on the disk."""
    stored = [(user_id, sku, 2) for sku in skus]
    await connection.executemany("INSERT INTO entries (user_id, sku, count) VALUES ($1, $2, $3)", stored)


async def entry_rows(connection: asyncpg.Connection) -> list[tuple[int, ...]]:
    return await rows(connection, "SELECT user_id, sku, count FROM entries ORDER BY user_id, sku")


async def test_put_entry_stores_one(connection: asyncpg.Connection) -> None:
    await add(connection, OTHER_USER, 1)

    await entries.AsyncQuerier(connection).put_entry(user_id=USER, sku=1, count=5)

    assert await entry_rows(connection) == [(USER, 1, 5), (OTHER_USER, 1, 2)]


async def test_put_entry_takes_the_place_of_the_one_that_is_there_and_of_no_other(
    connection: asyncpg.Connection,
) -> None:
    await add(connection, USER, 1, 2)

    await entries.AsyncQuerier(connection).put_entry(user_id=USER, sku=1, count=5)

    assert await entry_rows(connection) == [(USER, 1, 5), (USER, 2, 2)]


async def test_put_entry_refuses_a_count_that_cannot_be_and_leaves_the_old_one(connection: asyncpg.Connection) -> None:
    await add(connection, USER, 1)

    async with refused(connection, asyncpg.CheckViolationError, "entries_count_check"):
        await entries.AsyncQuerier(connection).put_entry(user_id=USER, sku=1, count=0)
    assert await entry_rows(connection) == [(USER, 1, 2)]


async def test_entry_is_that_of_the_user_and_the_sku(connection: asyncpg.Connection) -> None:
    await add(connection, USER, 1, 2)
    await add(connection, OTHER_USER, 3)
    reader = entries.AsyncReader(connection)

    assert await reader.entry(user_id=USER, sku=2) == Entry(USER, 2, 2)
    assert await reader.entry(user_id=USER, sku=3) is None


async def test_entries_are_those_of_the_user_behind_the_sku_in_sku_order(connection: asyncpg.Connection) -> None:
    await add(connection, USER, 4, 2, 1, 3)
    await add(connection, OTHER_USER, 5)

    found = await entries.AsyncReader(connection).entries(user_id=USER, start_after_sku=1, batch=2)

    assert found == [Entry(USER, 2, 2), Entry(USER, 3, 2)]
