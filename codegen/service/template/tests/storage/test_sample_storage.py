"""What every storage of the sample service promises."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.sample.memory import MemoryStorage
from services.sample.postgres import PostgresStorage
from services.sample.usecases import Entry, Storage
from tests.storage.conftest import Databases

USER, OTHER_USER = 7, 8


@pytest.fixture
async def storage(way: Databases | None) -> AsyncIterator[Storage]:
    if way is None:
        yield MemoryStorage()
        return
    async with way("sample") as connected:
        yield PostgresStorage(connected.database)


async def test_an_entry_that_nobody_has_put_is_none(storage: Storage) -> None:
    await storage.put(USER, Entry(1, 1))

    assert await storage.entry(USER, 2) is None
    assert await storage.entry(OTHER_USER, 1) is None


async def test_the_last_entry_for_a_sku_is_the_one_that_counts(storage: Storage) -> None:
    for count in (2, 65535, 1):
        await storage.put(USER, Entry(1, count))
        assert await storage.entry(USER, 1) == Entry(1, count)

    assert list(await storage.entries(USER, 0, 10)) == [Entry(1, 1)]


async def test_of_entries_that_are_put_at_once_one_stays(storage: Storage) -> None:
    await asyncio.gather(*(storage.put(USER, Entry(1, count)) for count in range(1, 31)))

    [entry] = await storage.entries(USER, 0, 10)
    assert entry.count in range(1, 31)


async def test_entries_come_in_sku_order_behind_the_given_sku_and_no_more_than_wanted(storage: Storage) -> None:
    for sku in (4294967295, 2, 3, 1):
        await storage.put(USER, Entry(sku, 5))

    for after, limit, skus in ((0, 10, [1, 2, 3, 4294967295]), (1, 2, [2, 3]), (4294967295, 10, [])):
        assert [entry.sku for entry in await storage.entries(USER, after, limit)] == skus


async def test_entries_of_users_do_not_meet(storage: Storage) -> None:
    await storage.put(USER, Entry(1, 1))
    await storage.put(OTHER_USER, Entry(1, 2))

    assert list(await storage.entries(USER, 0, 10)) == [Entry(1, 1)]
    assert list(await storage.entries(OTHER_USER, 0, 10)) == [Entry(1, 2)]
