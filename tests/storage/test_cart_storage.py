"""What every storage of the cart promises."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest

from services.cart.memory import MemoryStorage
from services.cart.postgres import PostgresStorage
from services.cart.usecases import Added, Cart, Item, Storage
from tests.clock import FakeClock
from tests.storage.conftest import Databases

NOW = FakeClock()()
USER = 7
LINE_LIMIT, CART_LIMIT = 50, 3


@pytest.fixture
async def storage(way: Databases | None) -> AsyncIterator[Storage]:
    if way is None:
        yield MemoryStorage()
        return
    async with way("cart") as connected:
        yield PostgresStorage(connected.database)


async def add(storage: Storage, sku: int, count: int = 1, user_id: int = USER) -> Added:
    return await storage.add(user_id, Item(sku, count), LINE_LIMIT, CART_LIMIT)


async def items(storage: Storage, user_id: int = USER) -> dict[int, int]:
    return {item.sku: item.count for item in (await storage.cart(user_id)).items}


async def test_an_absent_cart_has_no_items(storage: Storage) -> None:
    assert (await storage.cart(USER)).items == ()


async def test_added_units_sum_up_and_lines_are_in_sku_order(storage: Storage) -> None:
    for sku, count in ((3, 1), (1, 2), (3, 4)):
        assert await add(storage, sku, count) is Added.DONE

    assert (await storage.cart(USER)).items == (Item(1, 2), Item(3, 5))


async def test_a_line_holds_exactly_its_limit_and_no_more(storage: Storage) -> None:
    assert await add(storage, 1, LINE_LIMIT) is Added.DONE
    assert await add(storage, 1, 1) is Added.LINE_FULL
    assert await add(storage, 2, LINE_LIMIT + 1) is Added.LINE_FULL
    assert await items(storage) == {1: LINE_LIMIT}


async def test_a_full_cart_takes_more_units_and_no_more_lines(storage: Storage) -> None:
    for sku in range(1, CART_LIMIT + 1):
        await add(storage, sku)

    assert await add(storage, 99) is Added.CART_FULL
    assert await add(storage, 1) is Added.DONE
    assert await items(storage) == {1: 2, 2: 1, 3: 1}


async def test_carts_of_users_do_not_meet(storage: Storage) -> None:
    await add(storage, 1, user_id=1)
    await add(storage, 2, user_id=2)

    assert await items(storage, 1) == {1: 1}
    assert await items(storage, 2) == {2: 1}


async def test_a_line_is_deleted_whole_and_an_absent_one_is_no_error(storage: Storage) -> None:
    await storage.delete(USER, 1)
    await add(storage, 1, 5)
    await add(storage, 2)
    await storage.delete(USER, 1)
    await storage.delete(USER, 1)

    assert await items(storage) == {2: 1}


async def test_a_cart_is_cleared_and_an_absent_one_is_no_error(storage: Storage) -> None:
    await storage.clear(USER)
    await add(storage, 1)
    await storage.clear(USER)
    await storage.clear(USER)

    assert await items(storage) == {}


async def test_every_change_gives_a_version_that_was_not_there_before(storage: Storage) -> None:
    versions = []
    for change in (
        lambda: add(storage, 1),
        lambda: add(storage, 1),
        lambda: storage.delete(USER, 1),
        lambda: add(storage, 1),
        lambda: storage.clear(USER),
        lambda: add(storage, 1),
    ):
        await change()
        versions.append((await storage.cart(USER)).version)
    await storage.finish_checkout(await storage.cart(USER), 1, None, NOW)
    versions.append((await storage.cart(USER)).version)

    assert versions == sorted(set(versions))


async def test_a_refused_change_leaves_the_version(storage: Storage) -> None:
    await add(storage, 1, LINE_LIMIT)
    before = await storage.cart(USER)
    await add(storage, 1)
    await storage.delete(USER, 2)

    assert await storage.cart(USER) == before


async def test_a_finished_checkout_empties_the_cart_and_is_remembered(storage: Storage) -> None:
    request_id = uuid4()
    await add(storage, 1)
    assert await storage.ordered(USER, request_id) is None
    await storage.finish_checkout(await storage.cart(USER), 5, request_id, NOW)

    assert await items(storage) == {}
    assert await storage.ordered(USER, request_id) == 5
    assert await storage.ordered(USER + 1, request_id) is None


async def test_what_was_added_during_a_checkout_stays(storage: Storage) -> None:
    await add(storage, 1, 2)
    await add(storage, 2)
    cart = await storage.cart(USER)
    await add(storage, 1, 3)
    await add(storage, 3)
    await storage.delete(USER, 2)
    await storage.finish_checkout(cart, 5, None, NOW)

    assert await items(storage) == {1: 3, 3: 1}


async def test_a_checkout_that_is_finished_twice_takes_nothing_more(storage: Storage) -> None:
    await add(storage, 1, 2)
    cart = await storage.cart(USER)
    await storage.finish_checkout(cart, 5, None, NOW)
    await add(storage, 1, 2)
    await storage.finish_checkout(cart, 5, None, NOW)

    assert await items(storage) == {1: 2}


async def test_a_refused_checkout_changes_the_version_of_that_cart_only(storage: Storage) -> None:
    await add(storage, 1)
    cart = await storage.cart(USER)
    await storage.refuse_checkout(cart)
    refused = await storage.cart(USER)

    assert refused == Cart(USER, refused.version, cart.items)
    assert refused.version > cart.version
    await storage.refuse_checkout(cart)
    assert await storage.cart(USER) == refused


async def test_nothing_is_lost_however_many_add_at_once(storage: Storage) -> None:
    results = await asyncio.gather(*(add(storage, sku % 3 + 1) for sku in range(300)))

    assert results.count(Added.DONE) == 3 * LINE_LIMIT
    assert await items(storage) == {1: LINE_LIMIT, 2: LINE_LIMIT, 3: LINE_LIMIT}


async def test_a_request_id_is_forgotten_when_it_is_old_enough_the_oldest_first(storage: Storage) -> None:
    clock = FakeClock()
    request_ids = []
    for order_id in range(1, 4):
        request_ids.append(uuid4())
        await add(storage, 1)
        await storage.finish_checkout(await storage.cart(USER), order_id, request_ids[-1], clock())
        clock.move(hours=1)
    second = NOW + timedelta(hours=1)

    assert await storage.forget_requests(NOW - timedelta(seconds=1), 10) == 0
    assert await storage.forget_requests(second, 1) == 1
    assert [await storage.ordered(USER, request_id) for request_id in request_ids] == [None, 2, 3]
    assert await storage.forget_requests(second, 10) == 1
    assert [await storage.ordered(USER, request_id) for request_id in request_ids] == [None, None, 3]
