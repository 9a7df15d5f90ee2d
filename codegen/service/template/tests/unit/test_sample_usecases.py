"""What the sample service decides."""

import pytest

from services.sample.memory import MemoryStorage
from services.sample.usecases import PAGE, Entries, Entry, EntryNotFoundError

USER, OTHER_USER = 7, 8
SKU = 1076963


@pytest.fixture
def entries() -> Entries:
    return Entries(MemoryStorage())


async def test_an_entry_is_found_by_its_user_and_its_sku(entries: Entries) -> None:
    await entries.put(USER, Entry(SKU, 2))

    assert await entries.entry(USER, SKU) == Entry(SKU, 2)


@pytest.mark.parametrize(("user_id", "sku"), [(USER, SKU + 1), (OTHER_USER, SKU)])
async def test_an_entry_that_is_not_there_is_not_found(entries: Entries, user_id: int, sku: int) -> None:
    await entries.put(USER, Entry(SKU, 2))

    with pytest.raises(EntryNotFoundError, match=f"user {user_id} has no entry for sku {sku}"):
        await entries.entry(user_id, sku)


async def test_a_page_is_full_until_the_last_one(entries: Entries) -> None:
    every = [Entry(sku, 1) for sku in range(1, PAGE + 3)]
    for entry in every:
        await entries.put(USER, entry)

    assert list(await entries.page(USER, 0)) == every[:PAGE]
    assert list(await entries.page(USER, PAGE)) == every[PAGE:]
