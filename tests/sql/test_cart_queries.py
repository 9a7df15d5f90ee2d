"""What each query of the cart gives, which rows it changes, and whom it waits for."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from cart_db import carts

from tests.clock import FakeClock
from tests.sql.connections import Pair, is_held, refused, rows, wait_until_blocked

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = FakeClock()()
EARLIER, LATER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
USER, OTHER_USER = 7, 8
VERSION, ORDERED_VERSION = 100, 90
LINE_LIMIT, CART_LIMIT = 50, 3


async def add_cart(connection: asyncpg.Connection, items: dict[int, int], user_id: int = USER) -> None:
    """Stores a cart and its lines, in this order on the disk."""
    statement = "INSERT INTO carts (user_id, version, ordered_version) VALUES ($1, $2, $3)"
    await connection.execute(statement, user_id, VERSION, ORDERED_VERSION)
    lines = [(user_id, sku, count) for sku, count in items.items()]
    await connection.executemany("INSERT INTO cart_items (user_id, sku, count) VALUES ($1, $2, $3)", lines)


async def items_of(connection: asyncpg.Connection, user_id: int = USER) -> dict[int, int]:
    return dict(await rows(connection, "SELECT sku, count FROM cart_items WHERE user_id = $1", user_id))


async def versions(connection: asyncpg.Connection, user_id: int = USER) -> tuple[int, int]:
    """That of the cart, and the last one that was ordered."""
    [found] = await rows(connection, "SELECT version, ordered_version FROM carts WHERE user_id = $1", user_id)
    return found


async def has_new_version(connection: asyncpg.Connection) -> bool:
    """Whether the cart of the user, and no other, has the version that was given out last."""
    last = await connection.fetchval("SELECT last_value FROM cart_versions")
    return await rows(connection, "SELECT user_id FROM carts WHERE version = $1", last) == [(USER,)]


async def add_checkout(
    connection: asyncpg.Connection, order_id: int, created_at: datetime = NOW, request_id: UUID | None = None
) -> UUID:
    request_id = request_id or uuid4()
    statement = "INSERT INTO checkouts (user_id, request_id, order_id, created_at) VALUES ($1, $2, $3, $4)"
    await connection.execute(statement, USER, request_id, order_id, created_at)
    return request_id


async def checkout_orders(connection: asyncpg.Connection) -> list[int]:
    return [row[0] for row in await connection.fetch("SELECT order_id FROM checkouts ORDER BY order_id")]


async def lock(connection: asyncpg.Connection, user_id: int = USER) -> None:
    await carts.AsyncQuerier(connection).lock_cart(user_id=user_id)


async def add(
    connection: asyncpg.Connection, sku: int, count: int, line_limit: int = LINE_LIMIT
) -> carts.AddItemRow | None:
    new = carts.AddItemParams(sku=sku, count=count, user_id=USER, line_limit=line_limit, cart_limit=CART_LIMIT)
    return await carts.AsyncQuerier(connection).add_item(new)


async def take(connection: asyncpg.Connection, ordered: dict[int, int], version: int = VERSION) -> None:
    await carts.AsyncQuerier(connection).take_ordered(
        version=version, user_id=USER, skus=list(ordered), counts=list(ordered.values())
    )


ADDED = carts.AddItemRow(is_line_full=False, is_cart_full=False)
LINE_FULL = carts.AddItemRow(is_line_full=True, is_cart_full=False)
CART_FULL = carts.AddItemRow(is_line_full=False, is_cart_full=True)
BOTH_FULL = carts.AddItemRow(is_line_full=True, is_cart_full=True)


async def test_cart_has_its_lines_in_sku_order(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {2: 20, 3: 10, 1: 30})
    await add_cart(connection, {4: 40}, OTHER_USER)

    assert await carts.AsyncReader(connection).cart(user_id=USER) == carts.CartRow(VERSION, [1, 2, 3], [30, 20, 10])


async def test_cart_without_lines_has_empty_lists(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {})

    assert await carts.AsyncReader(connection).cart(user_id=USER) == carts.CartRow(VERSION, [], [])


async def test_cart_that_is_not_there_is_none(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {1: 1}, OTHER_USER)

    assert await carts.AsyncReader(connection).cart(user_id=USER) is None


async def test_lock_cart_makes_the_cart_that_is_missing(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {}, OTHER_USER)
    await lock(connection)

    assert await has_new_version(connection)
    assert (await versions(connection))[1] == 0


async def test_lock_cart_leaves_the_cart_that_is_there_as_it_is(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {1: 5})
    await lock(connection)

    assert await versions(connection) == (VERSION, ORDERED_VERSION)
    assert await items_of(connection) == {1: 5}


async def test_lock_cart_refuses_a_user_that_cannot_be(connection: asyncpg.Connection) -> None:
    async with refused(connection, asyncpg.CheckViolationError, "carts_user_id_check"):
        await lock(connection, 0)


@pytest.mark.parametrize("is_there", [True, False])
async def test_lock_cart_waits_and_the_next_statement_sees_what_was_done_meanwhile(
    pair: Pair, *, is_there: bool
) -> None:
    connection, rival = pair
    if is_there:
        await add_cart(connection, {})

    async with asyncio.TaskGroup() as group, rival.transaction():
        await lock(rival)
        adding = group.create_task(add_to_locked(connection, 1))
        await wait_until_blocked(connection, rival)
        await add(rival, 1, LINE_LIMIT)

    assert adding.result() == LINE_FULL


async def add_to_locked(connection: asyncpg.Connection, sku: int) -> carts.AddItemRow | None:
    async with connection.transaction():
        await lock(connection)
        return await add(connection, sku, 1)


async def test_lock_cart_holds_that_cart_until_the_transaction_ends(pair: Pair) -> None:
    connection, rival = pair
    await add_cart(connection, {})
    await add_cart(connection, {}, OTHER_USER)

    async with connection.transaction():
        await lock(connection)
        assert await is_held(rival, f"carts WHERE user_id = {USER}")
        assert not await is_held(rival, f"carts WHERE user_id = {OTHER_USER}")
    assert not await is_held(rival, f"carts WHERE user_id = {USER}")


@pytest.mark.parametrize(
    ("sku", "count", "items"), [(2, LINE_LIMIT, {1: 5, 2: LINE_LIMIT}), (1, LINE_LIMIT - 5, {1: LINE_LIMIT})]
)
async def test_add_item_adds_a_line_or_its_units_and_changes_the_version(
    connection: asyncpg.Connection, sku: int, count: int, items: dict[int, int]
) -> None:
    await add_cart(connection, {1: 5})
    await add_cart(connection, {1: LINE_LIMIT, 2: 1, 3: 1}, OTHER_USER)

    assert await add(connection, sku, count) == ADDED
    assert await items_of(connection) == items
    assert await items_of(connection, OTHER_USER) == {1: LINE_LIMIT, 2: 1, 3: 1}
    assert await has_new_version(connection)
    assert (await versions(connection))[1] == ORDERED_VERSION


@pytest.mark.parametrize(
    ("items", "sku", "count", "verdict"),
    [
        ({1: 5}, 1, LINE_LIMIT - 4, LINE_FULL),
        ({1: 5}, 2, LINE_LIMIT + 1, LINE_FULL),
        ({1: 1, 2: 1, 3: 1}, 4, 1, CART_FULL),
        ({1: 1, 2: 1, 3: 1}, 4, LINE_LIMIT + 1, BOTH_FULL),
        ({1: 1, 2: 1, 3: LINE_LIMIT}, 3, 1, LINE_FULL),
    ],
)
async def test_add_item_that_does_not_fit_changes_nothing(
    connection: asyncpg.Connection, items: dict[int, int], sku: int, count: int, verdict: carts.AddItemRow
) -> None:
    await add_cart(connection, items)

    assert await add(connection, sku, count) == verdict
    assert await items_of(connection) == items
    assert await versions(connection) == (VERSION, ORDERED_VERSION)


async def test_add_item_to_a_line_of_a_full_cart_fits(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {1: 1, 2: 1, 3: 1})

    assert await add(connection, 3, 1) == ADDED
    assert await items_of(connection) == {1: 1, 2: 1, 3: 2}


async def test_add_item_refuses_a_cart_that_is_not_there(connection: asyncpg.Connection) -> None:
    async with refused(connection, asyncpg.ForeignKeyViolationError, "cart_items_user_id_fkey"):
        await add(connection, 1, 1)
    assert await items_of(connection) == {}


@pytest.mark.parametrize("count", [0, -1, 65_536])
async def test_add_item_refuses_a_count_that_is_out_of_range(connection: asyncpg.Connection, count: int) -> None:
    await add_cart(connection, {})

    async with refused(connection, asyncpg.CheckViolationError, "cart_items_count_check"):
        await add(connection, 1, count, line_limit=100_000)
    assert await versions(connection) == (VERSION, ORDERED_VERSION)


async def test_add_item_refuses_a_sum_that_is_out_of_range(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {1: 65_535})

    async with refused(connection, asyncpg.CheckViolationError, "cart_items_count_check"):
        await add(connection, 1, 1, line_limit=100_000)
    assert await items_of(connection) == {1: 65_535}


async def test_delete_item_deletes_the_line_and_changes_the_version(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {1: 5, 2: 5})
    await add_cart(connection, {1: 5}, OTHER_USER)
    await carts.AsyncQuerier(connection).delete_item(user_id=USER, sku=1)

    assert await items_of(connection) == {2: 5}
    assert await items_of(connection, OTHER_USER) == {1: 5}
    assert await has_new_version(connection)


async def test_delete_item_that_is_not_there_leaves_the_version(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {1: 5})
    await carts.AsyncQuerier(connection).delete_item(user_id=USER, sku=2)
    await carts.AsyncQuerier(connection).delete_item(user_id=OTHER_USER, sku=1)

    assert await items_of(connection) == {1: 5}
    assert await versions(connection) == (VERSION, ORDERED_VERSION)


async def test_clear_cart_deletes_every_line_and_changes_the_version(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {1: 5, 2: 5})
    await add_cart(connection, {1: 5}, OTHER_USER)
    await carts.AsyncQuerier(connection).clear_cart(user_id=USER)

    assert await items_of(connection) == {}
    assert await items_of(connection, OTHER_USER) == {1: 5}
    assert await has_new_version(connection)


async def test_clear_cart_that_has_no_lines_leaves_the_version(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {})
    await carts.AsyncQuerier(connection).clear_cart(user_id=USER)
    await carts.AsyncQuerier(connection).clear_cart(user_id=OTHER_USER)

    assert await versions(connection) == (VERSION, ORDERED_VERSION)


async def test_order_of_checkout_is_that_of_the_user_and_the_request(connection: asyncpg.Connection) -> None:
    request_id = await add_checkout(connection, 5)
    reader = carts.AsyncReader(connection)

    assert await reader.order_of_checkout(user_id=USER, request_id=request_id) == 5
    assert await reader.order_of_checkout(user_id=OTHER_USER, request_id=request_id) is None
    assert await reader.order_of_checkout(user_id=USER, request_id=uuid4()) is None


async def test_remember_checkout_stores_the_first_order_of_a_request(connection: asyncpg.Connection) -> None:
    querier = carts.AsyncQuerier(connection)
    request_id = uuid4()
    await querier.remember_checkout(user_id=USER, request_id=request_id, order_id=5, moment=NOW)
    await querier.remember_checkout(user_id=USER, request_id=request_id, order_id=6, moment=LATER)
    await querier.remember_checkout(user_id=OTHER_USER, request_id=request_id, order_id=7, moment=LATER)

    assert await rows(connection, "SELECT * FROM checkouts ORDER BY user_id") == [
        (USER, request_id, 5, NOW),
        (OTHER_USER, request_id, 7, LATER),
    ]


async def test_remember_checkout_refuses_an_order_that_cannot_be(connection: asyncpg.Connection) -> None:
    async with refused(connection, asyncpg.CheckViolationError, "checkouts_order_id_check"):
        await carts.AsyncQuerier(connection).remember_checkout(user_id=USER, request_id=uuid4(), order_id=0, moment=NOW)


@pytest.mark.parametrize(("is_kept", "order_ids"), [(True, [5]), (False, [6])])
async def test_remember_checkout_waits_for_another_order_of_the_request(
    pair: Pair, *, is_kept: bool, order_ids: list[int]
) -> None:
    connection, rival = pair
    first = rival.transaction()
    await first.start()
    request_id = await add_checkout(rival, 5)

    async with asyncio.TaskGroup() as group:
        querier = carts.AsyncQuerier(connection)
        group.create_task(querier.remember_checkout(user_id=USER, request_id=request_id, order_id=6, moment=NOW))
        await wait_until_blocked(connection, rival)
        await (first.commit() if is_kept else first.rollback())

    assert await checkout_orders(connection) == order_ids


async def test_take_ordered_takes_what_was_ordered_and_leaves_the_rest(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {1: 5, 2: 5, 3: 5, 4: 5})
    await add_cart(connection, {1: 5}, OTHER_USER)
    await take(connection, {1: 3, 2: 5, 3: 6, 9: 1})

    assert await items_of(connection) == {1: 2, 4: 5}
    assert await items_of(connection, OTHER_USER) == {1: 5}
    assert await has_new_version(connection)
    assert (await versions(connection))[1] == VERSION
    assert await versions(connection, OTHER_USER) == (VERSION, ORDERED_VERSION)


@pytest.mark.parametrize("version", [ORDERED_VERSION, ORDERED_VERSION - 1])
async def test_take_ordered_takes_nothing_for_a_version_that_was_ordered_before(
    connection: asyncpg.Connection, version: int
) -> None:
    await add_cart(connection, {1: 5, 2: 5})
    await take(connection, {1: 3, 2: 5}, version)

    assert await items_of(connection) == {1: 5, 2: 5}
    assert await versions(connection) == (VERSION, ORDERED_VERSION)


async def test_take_ordered_of_nothing_is_an_order_of_that_version(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {1: 5})
    await take(connection, {})

    assert await items_of(connection) == {1: 5}
    assert await has_new_version(connection)
    assert (await versions(connection))[1] == VERSION


async def test_take_ordered_leaves_a_line_whose_count_is_missing(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {1: 5, 2: 5})
    await carts.AsyncQuerier(connection).take_ordered(version=VERSION, user_id=USER, skus=[1, 2], counts=[5])

    assert await items_of(connection) == {2: 5}


async def test_take_ordered_from_a_cart_that_is_not_there_changes_nothing(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {1: 5}, OTHER_USER)
    await take(connection, {1: 5})

    assert await items_of(connection, OTHER_USER) == {1: 5}
    assert await versions(connection, OTHER_USER) == (VERSION, ORDERED_VERSION)


async def test_refuse_checkout_changes_the_version_and_nothing_else(connection: asyncpg.Connection) -> None:
    await add_cart(connection, {1: 5})
    await add_cart(connection, {}, OTHER_USER)
    await carts.AsyncQuerier(connection).refuse_checkout(user_id=USER, version=VERSION)

    assert await has_new_version(connection)
    assert (await versions(connection))[1] == ORDERED_VERSION
    assert await items_of(connection) == {1: 5}
    assert await versions(connection, OTHER_USER) == (VERSION, ORDERED_VERSION)


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
async def test_refuse_checkout_leaves_a_cart_that_has_another_version(
    connection: asyncpg.Connection, version: int
) -> None:
    await add_cart(connection, {})
    await carts.AsyncQuerier(connection).refuse_checkout(user_id=USER, version=version)

    assert await versions(connection) == (VERSION, ORDERED_VERSION)


@pytest.mark.parametrize("is_kept", [True, False])
async def test_refuse_checkout_that_has_waited_leaves_a_version_that_came_meanwhile(
    pair: Pair, *, is_kept: bool
) -> None:
    connection, rival = pair
    await add_cart(connection, {})
    change = rival.transaction()
    await change.start()
    await add(rival, 1, 1)
    changed, _ = await versions(rival)

    async with asyncio.TaskGroup() as group:
        group.create_task(carts.AsyncQuerier(connection).refuse_checkout(user_id=USER, version=VERSION))
        await wait_until_blocked(connection, rival)
        await (change.commit() if is_kept else change.rollback())

    version, _ = await versions(connection)
    assert version == changed if is_kept else version > changed


async def test_forget_checkouts_forgets_those_that_are_old_enough(connection: asyncpg.Connection) -> None:
    for order_id, created_at in ((1, EARLIER), (2, NOW), (3, LATER)):
        await add_checkout(connection, order_id, created_at)

    assert await carts.AsyncQuerier(connection).forget_checkouts(used_before=NOW, batch=10) == 2
    assert await checkout_orders(connection) == [3]


@pytest.mark.parametrize(("batch", "left"), [(0, [1, 2, 3]), (1, [1, 2]), (2, [1]), (3, [])])
async def test_forget_checkouts_forgets_at_most_a_batch_the_oldest_first(
    connection: asyncpg.Connection, batch: int, left: list[int]
) -> None:
    for order_id in (1, 2, 3):
        await add_checkout(connection, order_id, NOW - timedelta(hours=order_id))

    assert await carts.AsyncQuerier(connection).forget_checkouts(used_before=NOW, batch=batch) == batch
    assert await checkout_orders(connection) == left


async def test_forget_checkouts_forgets_at_most_a_batch_even_if_the_statistics_are_old(pair: Pair) -> None:
    connection, _ = pair
    await add_checkout(connection, 1)
    await connection.execute("ANALYZE checkouts")
    for order_id in range(2, 21):
        await add_checkout(connection, order_id)

    assert await carts.AsyncQuerier(connection).forget_checkouts(used_before=NOW, batch=7) == 7


async def test_forget_checkouts_skips_what_another_transaction_holds(pair: Pair) -> None:
    connection, rival = pair
    for order_id in (1, 2, 3):
        await add_checkout(connection, order_id, EARLIER + timedelta(minutes=order_id))

    async with rival.transaction():
        await rival.execute("SELECT FROM checkouts WHERE order_id = 1 FOR UPDATE")
        assert await carts.AsyncQuerier(connection).forget_checkouts(used_before=NOW, batch=1) == 1
        assert await checkout_orders(connection) == [1, 3]
