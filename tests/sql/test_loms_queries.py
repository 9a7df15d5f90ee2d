"""What each query of LOMS gives, which rows it changes, and whom it waits for."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from loms_db import orders, outbox, stocks
from loms_db.models import OrderStatus, Outbox

from tests.clock import FakeClock
from tests.sql.connections import Pair, is_held, refused, rows, wait_until_blocked

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = FakeClock()()
EARLIER, LATER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
USER, OTHER_USER = 7, 8
BODY = b"body"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AWAITING_PAYMENT = OrderStatus.AWAITING_PAYMENT
FINAL = [OrderStatus.FAILED, OrderStatus.PAYED, OrderStatus.CANCELLED]


async def add_stocks(connection: asyncpg.Connection, *added: tuple[int, int, int]) -> None:
    """Stores skus with their total and reserved units, in this order on the disk."""
    await connection.executemany("INSERT INTO stocks (sku, total, reserved) VALUES ($1, $2, $3)", added)


async def stock_rows(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return await rows(connection, "SELECT sku, total, reserved FROM stocks ORDER BY sku")


async def add_order(
    connection: asyncpg.Connection,
    items: dict[int, int],
    status: OrderStatus = AWAITING_PAYMENT,
    created_at: datetime = NOW,
    short: tuple[int, ...] = (),
) -> int:
    """Stores an order with two events behind it; its units have to be reserved already."""
    order_id: int = await connection.fetchval(
        "INSERT INTO orders (user_id, status, sequence, short, created_at)"
        " VALUES ($1, $2, 2, $3, $4) RETURNING order_id",
        *(USER, status, short, created_at),
    )
    lines = [(order_id, sku, count) for sku, count in items.items()]
    await connection.executemany("INSERT INTO order_items (order_id, sku, count) VALUES ($1, $2, $3)", lines)
    return order_id


async def order_rows(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return await rows(connection, "SELECT order_id, status, sequence FROM orders ORDER BY order_id")


async def add_request(
    connection: asyncpg.Connection, order_id: int, user_id: int = USER, created_at: datetime = NOW
) -> UUID:
    request_id = uuid4()
    statement = (
        "INSERT INTO requests (user_id, request_id, body_hash, order_id, created_at) VALUES ($1, $2, $3, $4, $5)"
    )
    await connection.execute(statement, user_id, request_id, BODY, order_id, created_at)
    return request_id


async def requested_orders(connection: asyncpg.Connection) -> list[int]:
    return [row[0] for row in await connection.fetch("SELECT order_id FROM requests ORDER BY order_id")]


async def add_event(connection: asyncpg.Connection, id_: int, order_id: int, sequence: int = 1) -> UUID:
    event_id: UUID = await connection.fetchval(
        "INSERT INTO outbox (id, order_id, sequence, user_id, status, moment) OVERRIDING SYSTEM VALUE"
        " VALUES ($1, $2, $3, $4, 'new', $5) RETURNING event_id",
        *(id_, order_id, sequence, USER, NOW),
    )
    return event_id


async def event_rows(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return await rows(connection, "SELECT order_id, sequence, user_id, status, moment FROM outbox ORDER BY id")


async def traces(connection: asyncpg.Connection) -> set[str | None]:
    return {row[0] for row in await rows(connection, "SELECT traceparent FROM outbox")}


async def create(
    connection: asyncpg.Connection, items: dict[int, int], request_id: UUID | None = None, user_id: int = USER
) -> orders.CreateOrderRow | None:
    new = orders.CreateOrderParams(user_id, request_id, BODY, NOW, list(items), list(items.values()), TRACE)
    return await orders.AsyncQuerier(connection).create_order(new)


async def change(
    connection: asyncpg.Connection,
    order_id: int,
    target: OrderStatus = OrderStatus.PAYED,
    *,
    sold: bool = True,
    owner: int | None = None,
) -> OrderStatus | None:
    querier = orders.AsyncQuerier(connection)
    return await querier.change_order(orders.ChangeOrderParams(order_id, owner, target, sold, LATER, TRACE))


async def change_unpaid(
    connection: asyncpg.Connection, created_before: datetime = NOW, batch: int = 10, *, sold: bool = False
) -> list[int]:
    due = orders.ChangeUnpaidOrdersParams(created_before, batch, OrderStatus.CANCELLED, sold, LATER)
    return await orders.AsyncQuerier(connection).change_unpaid_orders(due)


async def test_create_order_stores_the_order_its_items_and_its_events(connection: asyncpg.Connection) -> None:
    await add_stocks(connection, (1, 10, 0), (2, 10, 0))
    created = await create(connection, {1: 3, 2: 4})

    assert created is not None
    assert created.short == []
    assert await rows(connection, "SELECT * FROM orders") == [
        (created.order_id, USER, AWAITING_PAYMENT, 2, [], NOW),
    ]
    assert await rows(connection, "SELECT * FROM order_items ORDER BY sku") == [
        (created.order_id, 1, 3),
        (created.order_id, 2, 4),
    ]
    assert await traces(connection) == {TRACE}
    assert await event_rows(connection) == [
        (created.order_id, 1, USER, OrderStatus.NEW, NOW),
        (created.order_id, 2, USER, AWAITING_PAYMENT, NOW),
    ]
    assert await connection.fetchval("SELECT count(DISTINCT event_id) FROM outbox") == 2


async def test_create_order_reserves_up_to_what_is_free_and_leaves_other_stock_alone(
    connection: asyncpg.Connection,
) -> None:
    await add_stocks(connection, (1, 10, 2), (2, 5, 0), (3, 5, 1))
    await create(connection, {1: 8, 2: 1})

    assert await stock_rows(connection) == [(1, 10, 10), (2, 5, 1), (3, 5, 1)]


async def test_create_order_that_is_short_fails_reserves_nothing_and_names_every_short_sku(
    connection: asyncpg.Connection,
) -> None:
    await add_stocks(connection, (1, 10, 0), (2, 10, 10), (3, 10, 8))
    created = await create(connection, {404: 1, 3: 3, 2: 1, 1: 1})

    assert created is not None
    assert created.short == [2, 3, 404]
    assert await stock_rows(connection) == [(1, 10, 0), (2, 10, 10), (3, 10, 8)]
    assert await rows(connection, "SELECT status, sequence, short FROM orders") == [
        (OrderStatus.FAILED, 2, [2, 3, 404]),
    ]
    assert await connection.fetchval("SELECT count(*) FROM order_items") == 4
    assert [event[3] for event in await event_rows(connection)] == [OrderStatus.NEW, OrderStatus.FAILED]


async def test_create_order_of_nothing_reserves_nothing(connection: asyncpg.Connection) -> None:
    await add_stocks(connection, (1, 10, 0))
    created = await create(connection, {})

    assert created is not None
    assert created.short == []
    assert await stock_rows(connection) == [(1, 10, 0)]


async def test_create_order_stores_the_request_that_led_to_it(connection: asyncpg.Connection) -> None:
    await add_stocks(connection, (1, 10, 0))
    request_id = uuid4()
    created = await create(connection, {1: 1}, request_id)

    assert created is not None
    assert await rows(connection, "SELECT * FROM requests") == [(USER, request_id, BODY, created.order_id, NOW)]


async def test_create_order_does_nothing_for_a_request_that_the_user_has_made_before(
    connection: asyncpg.Connection,
) -> None:
    await add_stocks(connection, (1, 10, 0), (2, 10, 0))
    request_id = uuid4()
    await create(connection, {1: 1}, request_id)
    before = await order_rows(connection), await event_rows(connection), await rows(connection, "TABLE requests")

    assert await create(connection, {1: 1}, request_id) is None
    assert await create(connection, {2: 2}, request_id) is None
    after = await order_rows(connection), await event_rows(connection), await rows(connection, "TABLE requests")
    assert after == before
    assert await stock_rows(connection) == [(1, 10, 1), (2, 10, 0)]


async def test_create_order_takes_the_same_request_id_from_another_user(connection: asyncpg.Connection) -> None:
    await add_stocks(connection, (1, 10, 0))
    request_id = uuid4()

    assert await create(connection, {1: 1}, request_id) is not None
    assert await create(connection, {1: 1}, request_id, OTHER_USER) is not None
    assert await stock_rows(connection) == [(1, 10, 2)]


async def test_create_order_without_a_request_id_is_another_order_each_time(connection: asyncpg.Connection) -> None:
    await add_stocks(connection, (1, 10, 0))
    first, second = await create(connection, {1: 1}), await create(connection, {1: 1})

    assert first is not None
    assert second is not None
    assert first.order_id < second.order_id
    assert await stock_rows(connection) == [(1, 10, 2)]
    assert await requested_orders(connection) == []


@pytest.mark.parametrize(("skus", "counts"), [([1, 2], [1]), ([1], [1, 2])])
async def test_create_order_refuses_a_sku_without_a_count_and_a_count_without_a_sku(
    connection: asyncpg.Connection, skus: list[int], counts: list[int]
) -> None:
    await add_stocks(connection, (1, 10, 0), (2, 10, 0))

    async with refused(connection, asyncpg.NotNullViolationError):
        await orders.AsyncQuerier(connection).create_order(
            orders.CreateOrderParams(USER, None, BODY, NOW, skus, counts, None)
        )
    assert await order_rows(connection) == []


async def test_create_order_refuses_a_sku_that_is_there_twice_and_leaves_nothing(
    connection: asyncpg.Connection,
) -> None:
    await add_stocks(connection, (1, 10, 0))

    async with refused(connection, asyncpg.UniqueViolationError, "order_items_pkey"):
        await orders.AsyncQuerier(connection).create_order(
            orders.CreateOrderParams(USER, uuid4(), BODY, NOW, [1, 1], [1, 1], None)
        )
    assert await stock_rows(connection) == [(1, 10, 0)]
    assert await order_rows(connection) == []
    assert await requested_orders(connection) == []


@pytest.mark.parametrize("count", [0, -1, 6_553_501])
async def test_create_order_refuses_a_count_that_is_out_of_range(connection: asyncpg.Connection, count: int) -> None:
    await add_stocks(connection, (1, 10_000_000, 5))

    async with refused(connection, asyncpg.CheckViolationError, "order_items_count_check"):
        await create(connection, {1: count})
    assert await stock_rows(connection) == [(1, 10_000_000, 5)]


async def test_create_order_that_has_waited_for_a_stock_row_sees_what_was_left(pair: Pair) -> None:
    connection, rival = pair
    await add_stocks(connection, (1, 10, 0), (2, 10, 0))

    async with asyncio.TaskGroup() as group, rival.transaction():
        await create(rival, {1: 8})
        creating = group.create_task(create(connection, {1: 3, 2: 3}))
        await wait_until_blocked(connection, rival)

    created = creating.result()
    assert created is not None
    assert created.short == [1]
    assert await stock_rows(connection) == [(1, 10, 8), (2, 10, 0)]


async def test_create_order_that_has_waited_adds_to_what_was_reserved_meanwhile(pair: Pair) -> None:
    connection, rival = pair
    await add_stocks(connection, (1, 10, 0))

    async with asyncio.TaskGroup() as group, rival.transaction():
        await create(rival, {1: 4})
        group.create_task(create(connection, {1: 6}))
        await wait_until_blocked(connection, rival)

    assert await stock_rows(connection) == [(1, 10, 10)]


async def test_create_order_locks_its_stock_rows_in_sku_order(pair: Pair) -> None:
    connection, rival = pair
    await add_stocks(connection, (3, 10, 0), (2, 10, 0), (1, 10, 0))

    async with asyncio.TaskGroup() as group, rival.transaction():
        await rival.execute("SELECT FROM stocks WHERE sku = 2 FOR UPDATE")
        group.create_task(create(connection, {3: 1, 2: 1, 1: 1}))
        await wait_until_blocked(connection, rival)
        assert await is_held(rival, "stocks WHERE sku = 1")
        assert not await is_held(rival, "stocks WHERE sku = 3")


@pytest.mark.parametrize("is_kept", [True, False])
async def test_create_order_waits_for_the_same_request_and_does_nothing_unless_that_is_rolled_back(
    pair: Pair, *, is_kept: bool
) -> None:
    connection, rival = pair
    await add_stocks(connection, (1, 10, 0))
    request_id = uuid4()
    first = rival.transaction()
    await first.start()
    await create(rival, {1: 1}, request_id)

    async with asyncio.TaskGroup() as group:
        second = group.create_task(create(connection, {1: 1}, request_id))
        await wait_until_blocked(connection, rival)
        await (first.commit() if is_kept else first.rollback())

    assert (second.result() is None) == is_kept
    assert await stock_rows(connection) == [(1, 10, 1)]
    assert len(await order_rows(connection)) == 1


async def test_create_order_waits_for_its_request_before_it_locks_stock(pair: Pair) -> None:
    connection, rival = pair
    await add_stocks(connection, (1, 10, 0), (2, 10, 0))
    request_id = uuid4()

    async with asyncio.TaskGroup() as group, rival.transaction():
        await create(rival, {1: 1}, request_id)
        group.create_task(create(connection, {2: 1}, request_id))
        await wait_until_blocked(connection, rival)
        assert not await is_held(rival, "stocks WHERE sku = 2")


async def test_create_order_for_a_known_request_waits_for_no_stock(pair: Pair) -> None:
    connection, rival = pair
    await add_stocks(connection, (1, 10, 0))
    request_id = uuid4()
    await create(connection, {1: 1}, request_id)

    async with rival.transaction():
        await rival.execute("SELECT FROM stocks WHERE sku = 1 FOR UPDATE")
        assert await create(connection, {1: 1}, request_id) is None


@pytest.mark.parametrize("short", [(), (1, 2)])
async def test_order_of_request_gives_the_body_and_the_order(
    connection: asyncpg.Connection, short: tuple[int, ...]
) -> None:
    order_id = await add_order(connection, {1: 1}, short=short)
    request_id = await add_request(connection, order_id)
    reader = orders.AsyncReader(connection)

    assert await reader.order_of_request(user_id=USER, request_id=request_id) == orders.OrderOfRequestRow(
        BODY, order_id, list(short)
    )


async def test_order_of_request_gives_nothing_to_another_user_or_for_another_request(
    connection: asyncpg.Connection,
) -> None:
    request_id = await add_request(connection, await add_order(connection, {1: 1}))
    reader = orders.AsyncReader(connection)

    assert await reader.order_of_request(user_id=OTHER_USER, request_id=request_id) is None
    assert await reader.order_of_request(user_id=USER, request_id=uuid4()) is None


async def test_forget_requests_forgets_those_that_are_old_enough_and_no_order(connection: asyncpg.Connection) -> None:
    order_id = await add_order(connection, {1: 1})
    for number, created_at in ((order_id, EARLIER), (order_id + 1, NOW), (order_id + 2, LATER)):
        await add_request(connection, number, created_at=created_at)

    assert await orders.AsyncQuerier(connection).forget_requests(used_before=NOW, batch=10) == 2
    assert await requested_orders(connection) == [order_id + 2]
    assert await order_rows(connection) == [(order_id, AWAITING_PAYMENT, 2)]


@pytest.mark.parametrize(("batch", "left"), [(0, [1, 2, 3]), (1, [1, 2]), (2, [1]), (3, [])])
async def test_forget_requests_forgets_at_most_a_batch_the_oldest_first(
    connection: asyncpg.Connection, batch: int, left: list[int]
) -> None:
    for order_id in (1, 2, 3):
        await add_request(connection, order_id, created_at=NOW - timedelta(hours=order_id))

    assert await orders.AsyncQuerier(connection).forget_requests(used_before=NOW, batch=batch) == batch
    assert await requested_orders(connection) == left


async def test_forget_requests_forgets_at_most_a_batch_even_if_the_statistics_are_old(pair: Pair) -> None:
    connection, _ = pair
    await add_request(connection, 1)
    await connection.execute("ANALYZE requests")
    for order_id in range(2, 21):
        await add_request(connection, order_id)

    assert await orders.AsyncQuerier(connection).forget_requests(used_before=NOW, batch=7) == 7


async def test_forget_requests_skips_what_another_transaction_holds(pair: Pair) -> None:
    connection, rival = pair
    for order_id in (1, 2, 3):
        await add_request(connection, order_id, created_at=EARLIER + timedelta(minutes=order_id))

    async with rival.transaction():
        await rival.execute("SELECT FROM requests WHERE order_id = 1 FOR UPDATE")
        assert await orders.AsyncQuerier(connection).forget_requests(used_before=NOW, batch=1) == 1
        assert await requested_orders(connection) == [1, 3]


@pytest.mark.parametrize("status", OrderStatus)
async def test_order_has_its_items_in_sku_order(connection: asyncpg.Connection, status: OrderStatus) -> None:
    order_id = await add_order(connection, {2: 20, 3: 10, 1: 30}, status)
    await add_order(connection, {4: 40})

    for owner in (None, USER):
        assert await orders.AsyncReader(connection).order(order_id=order_id, owner=owner) == orders.OrderRow(
            order_id, USER, status, [1, 2, 3], [30, 20, 10]
        )


async def test_order_of_somebody_else_is_not_found_and_change_order_leaves_it(connection: asyncpg.Connection) -> None:
    order_id = await add_order(connection, {1: 1}, OrderStatus.AWAITING_PAYMENT)

    assert await orders.AsyncReader(connection).order(order_id=order_id, owner=USER + 1) is None
    assert await change(connection, order_id, owner=USER + 1) is None
    assert await change(connection, order_id, owner=USER) is OrderStatus.AWAITING_PAYMENT
    assert await change(connection, order_id, owner=USER) is OrderStatus.PAYED


async def test_order_that_is_unknown_or_has_no_items_is_not_found(connection: asyncpg.Connection) -> None:
    order_id = await add_order(connection, {})
    other_id = await add_order(connection, {1: 1})

    assert await orders.AsyncReader(connection).order(order_id=order_id, owner=None) is None
    assert await orders.AsyncReader(connection).order(order_id=other_id + 1, owner=None) is None


@pytest.mark.parametrize(
    ("target", "sold", "left"),
    [
        (OrderStatus.PAYED, True, [(1, 7, 2), (2, 6, 0), (3, 5, 5)]),
        (OrderStatus.CANCELLED, False, [(1, 10, 2), (2, 10, 0), (3, 5, 5)]),
    ],
)
async def test_change_order_sells_or_releases_its_units_only(
    connection: asyncpg.Connection, target: OrderStatus, *, sold: bool, left: list[tuple[int, int, int]]
) -> None:
    await add_stocks(connection, (1, 10, 5), (2, 10, 4), (3, 5, 5))
    order_id = await add_order(connection, {1: 3, 2: 4})
    other_id = await add_order(connection, {1: 2, 3: 5})

    assert await change(connection, order_id, target, sold=sold) is AWAITING_PAYMENT
    assert await stock_rows(connection) == left
    assert await order_rows(connection) == [(order_id, target, 3), (other_id, AWAITING_PAYMENT, 2)]
    assert await event_rows(connection) == [(order_id, 3, USER, target, LATER)]
    assert await traces(connection) == {TRACE}


@pytest.mark.parametrize("status", [OrderStatus.NEW, *FINAL])
async def test_change_order_only_tells_the_status_of_one_that_awaits_no_payment(
    connection: asyncpg.Connection, status: OrderStatus
) -> None:
    await add_stocks(connection, (1, 10, 5))
    order_id = await add_order(connection, {1: 3}, status)

    assert await change(connection, order_id) is status
    assert await stock_rows(connection) == [(1, 10, 5)]
    assert await order_rows(connection) == [(order_id, status, 2)]
    assert await event_rows(connection) == []


async def test_change_order_gives_nothing_for_an_unknown_one(connection: asyncpg.Connection) -> None:
    order_id = await add_order(connection, {})

    assert await change(connection, order_id + 1) is None
    assert await order_rows(connection) == [(order_id, AWAITING_PAYMENT, 2)]


async def test_change_order_refuses_to_release_what_is_not_reserved(connection: asyncpg.Connection) -> None:
    await add_stocks(connection, (1, 10, 2))
    order_id = await add_order(connection, {1: 3})

    async with refused(connection, asyncpg.CheckViolationError, "stocks_reserved_is_there"):
        await change(connection, order_id)
    assert await order_rows(connection) == [(order_id, AWAITING_PAYMENT, 2)]


async def test_change_order_refuses_a_second_event_of_the_same_sequence(connection: asyncpg.Connection) -> None:
    await add_stocks(connection, (1, 10, 3))
    order_id = await add_order(connection, {1: 3})
    await add_event(connection, 1_000_000, order_id, sequence=3)

    async with refused(connection, asyncpg.UniqueViolationError, "outbox_order_id_sequence_key"):
        await change(connection, order_id)
    assert await stock_rows(connection) == [(1, 10, 3)]


@pytest.mark.parametrize(
    ("is_kept", "found", "left"),
    [(True, OrderStatus.PAYED, (1, 7, 0)), (False, AWAITING_PAYMENT, (1, 10, 0))],
)
async def test_change_order_that_has_waited_for_another_change_sees_what_came_of_it(
    pair: Pair, *, is_kept: bool, found: OrderStatus, left: tuple[int, int, int]
) -> None:
    connection, rival = pair
    await add_stocks(connection, (1, 10, 3))
    order_id = await add_order(connection, {1: 3})
    payment = rival.transaction()
    await payment.start()
    await change(rival, order_id)

    async with asyncio.TaskGroup() as group:
        changing = group.create_task(change(connection, order_id, OrderStatus.CANCELLED, sold=False))
        await wait_until_blocked(connection, rival)
        await (payment.commit() if is_kept else payment.rollback())

    assert changing.result() is found
    assert await stock_rows(connection) == [left]
    assert len(await event_rows(connection)) == 1


async def test_change_order_locks_the_order_before_its_stock(pair: Pair) -> None:
    connection, rival = pair
    await add_stocks(connection, (1, 10, 3))
    order_id = await add_order(connection, {1: 3})

    async with asyncio.TaskGroup() as group, rival.transaction():
        await rival.execute("SELECT FROM orders FOR UPDATE")
        group.create_task(change(connection, order_id))
        await wait_until_blocked(connection, rival)
        assert not await is_held(rival, "stocks WHERE sku = 1")


async def test_change_order_locks_its_stock_rows_in_sku_order(pair: Pair) -> None:
    connection, rival = pair
    await add_stocks(connection, (3, 10, 3), (2, 10, 3), (1, 10, 3))
    order_id = await add_order(connection, {3: 3, 2: 3, 1: 3})

    async with asyncio.TaskGroup() as group, rival.transaction():
        await rival.execute("SELECT FROM stocks WHERE sku = 2 FOR UPDATE")
        group.create_task(change(connection, order_id))
        await wait_until_blocked(connection, rival)
        assert await is_held(rival, "orders")
        assert await is_held(rival, "stocks WHERE sku = 1")
        assert not await is_held(rival, "stocks WHERE sku = 3")


async def test_change_order_that_has_waited_for_stock_changes_it_as_it_is_then(pair: Pair) -> None:
    connection, rival = pair
    await add_stocks(connection, (1, 10, 3))
    order_id = await add_order(connection, {1: 3})

    async with asyncio.TaskGroup() as group, rival.transaction():
        await create(rival, {1: 5})
        group.create_task(change(connection, order_id))
        await wait_until_blocked(connection, rival)

    assert await stock_rows(connection) == [(1, 7, 5)]


@pytest.mark.parametrize(("sold", "left"), [(True, [(1, 5, 1), (2, 8, 0)]), (False, [(1, 10, 1), (2, 10, 0)])])
async def test_change_unpaid_orders_sells_or_releases_the_units_of_all_of_them(
    connection: asyncpg.Connection, *, sold: bool, left: list[tuple[int, int, int]]
) -> None:
    await add_stocks(connection, (1, 10, 6), (2, 10, 2))
    first = await add_order(connection, {1: 2, 2: 2})
    second = await add_order(connection, {1: 3})

    assert await change_unpaid(connection, sold=sold) == [first, second]
    assert await stock_rows(connection) == left
    assert await order_rows(connection) == [(first, OrderStatus.CANCELLED, 3), (second, OrderStatus.CANCELLED, 3)]
    assert sorted(await event_rows(connection)) == [
        (first, 3, USER, OrderStatus.CANCELLED, LATER),
        (second, 3, USER, OrderStatus.CANCELLED, LATER),
    ]


async def test_change_unpaid_orders_leaves_alone_what_is_not_due(connection: asyncpg.Connection) -> None:
    await add_stocks(connection, (1, 10, 10))
    for status in (OrderStatus.NEW, *FINAL):
        await add_order(connection, {1: 1}, status, EARLIER)
    await add_order(connection, {1: 1}, created_at=NOW + timedelta(microseconds=1))
    before = await order_rows(connection)

    assert await change_unpaid(connection) == []
    assert await order_rows(connection) == before
    assert await stock_rows(connection) == [(1, 10, 10)]
    assert await event_rows(connection) == []


@pytest.mark.parametrize(("batch", "ended"), [(0, []), (1, [2]), (2, [1, 2]), (3, [0, 1, 2]), (4, [0, 1, 2])])
async def test_change_unpaid_orders_ends_at_most_a_batch_the_oldest_first(
    connection: asyncpg.Connection, batch: int, ended: list[int]
) -> None:
    await add_stocks(connection, (1, 10, 3))
    made = [await add_order(connection, {1: 1}, created_at=NOW - timedelta(hours=age)) for age in (0, 1, 2)]

    assert await change_unpaid(connection, batch=batch) == [made[number] for number in ended]
    assert await stock_rows(connection) == [(1, 10, 3 - len(ended))]


async def test_change_unpaid_orders_of_one_moment_takes_the_lower_number_first(connection: asyncpg.Connection) -> None:
    await add_stocks(connection, (1, 10, 2))
    first, second = await add_order(connection, {1: 1}), await add_order(connection, {1: 1})
    for created_at in (LATER, NOW):  # so it is behind the second one, on the disk and in the index
        await connection.execute("UPDATE orders SET created_at = $1 WHERE order_id = $2", created_at, first)

    assert await change_unpaid(connection, batch=1) == [first]
    assert await change_unpaid(connection, batch=1) == [second]


async def test_change_unpaid_orders_skips_what_another_transaction_holds(pair: Pair) -> None:
    connection, rival = pair
    await add_stocks(connection, (1, 10, 3))
    made = [await add_order(connection, {1: 1}, created_at=NOW - timedelta(hours=age)) for age in (2, 1, 0)]

    async with rival.transaction():
        await rival.execute("SELECT FROM orders WHERE order_id = $1 FOR UPDATE", made[0])
        assert await change_unpaid(connection, batch=1) == [made[1]]
        assert await change_unpaid(connection) == [made[2]]
    assert await change_unpaid(connection) == [made[0]]


async def test_change_unpaid_orders_locks_its_stock_rows_in_sku_order(pair: Pair) -> None:
    connection, rival = pair
    await add_stocks(connection, (3, 10, 3), (2, 10, 3), (1, 10, 3))
    for sku in (3, 2, 1):
        await add_order(connection, {sku: 3})

    async with asyncio.TaskGroup() as group, rival.transaction():
        await rival.execute("SELECT FROM stocks WHERE sku = 2 FOR UPDATE")
        group.create_task(change_unpaid(connection))
        await wait_until_blocked(connection, rival)
        assert await is_held(rival, "orders")
        assert await is_held(rival, "stocks WHERE sku = 1")
        assert not await is_held(rival, "stocks WHERE sku = 3")


async def test_change_unpaid_orders_that_has_waited_for_stock_changes_it_as_it_is_then(pair: Pair) -> None:
    connection, rival = pair
    await add_stocks(connection, (1, 10, 3))
    await add_order(connection, {1: 3})

    async with asyncio.TaskGroup() as group, rival.transaction():
        await create(rival, {1: 5})
        group.create_task(change_unpaid(connection))
        await wait_until_blocked(connection, rival)

    assert await stock_rows(connection) == [(1, 10, 5)]


@pytest.mark.parametrize(("batch", "given"), [(0, []), (2, [1, 2]), (10, [1, 2, 3])])
async def test_unsent_events_are_the_oldest_in_order(
    connection: asyncpg.Connection, batch: int, given: list[int]
) -> None:
    for id_ in (3, 1, 2):
        await add_event(connection, id_, order_id=5, sequence=4 - id_)

    assert [event.id for event in await outbox.AsyncReader(connection).unsent_events(batch=batch)] == given
    assert await connection.fetchval("SELECT count(*) FROM outbox") == 3


async def test_unsent_events_are_whole_rows(connection: asyncpg.Connection) -> None:
    event_id = await add_event(connection, 1, order_id=5, sequence=2)

    assert await outbox.AsyncReader(connection).unsent_events(batch=1) == [
        Outbox(1, event_id, 5, 2, USER, OrderStatus.NEW, NOW, None)
    ]


async def test_delete_events_deletes_these_and_counts_those_that_were_there(connection: asyncpg.Connection) -> None:
    for id_ in (1, 2, 3):
        await add_event(connection, id_, order_id=id_)
    querier = outbox.AsyncQuerier(connection)

    assert await querier.delete_events(ids=[]) == 0
    assert await querier.delete_events(ids=[1, 3, 3, 404]) == 2
    assert await rows(connection, "SELECT id FROM outbox") == [(2,)]
    assert await querier.delete_events(ids=[1, 2, 3]) == 1


@pytest.mark.parametrize(
    ("total", "reserved", "available"), [(10, 4, 6), (10, 10, 0), (0, 0, 0), (2**63 - 1, 0, 2**63 - 1)]
)
async def test_available_stock_is_what_is_not_reserved(
    connection: asyncpg.Connection, total: int, reserved: int, available: int
) -> None:
    await add_stocks(connection, (1, total, reserved), (2, 1, 0))

    assert await stocks.AsyncReader(connection).available_stock(sku=1) == available


ONE_RELAY, OTHER_RELAY = UUID(int=1), UUID(int=2)


async def test_lead_is_given_to_one_relay_until_its_time_is_over(connection: asyncpg.Connection) -> None:
    querier = outbox.AsyncQuerier(connection)

    assert await querier.lead(relay_id=ONE_RELAY, seconds=60)
    assert not await querier.lead(relay_id=OTHER_RELAY, seconds=60)
    assert await querier.lead(relay_id=ONE_RELAY, seconds=0)
    assert await querier.lead(relay_id=OTHER_RELAY, seconds=60)
    assert not await querier.lead(relay_id=ONE_RELAY, seconds=60)


async def test_lead_waits_for_the_relay_that_takes_it_at_the_same_time(pair: Pair) -> None:
    connection, other = pair
    async with connection.transaction():
        assert await outbox.AsyncQuerier(connection).lead(relay_id=ONE_RELAY, seconds=60)
        second = asyncio.create_task(outbox.AsyncQuerier(other).lead(relay_id=OTHER_RELAY, seconds=60))
        await wait_until_blocked(other, by=connection)

    assert not await second


async def test_resign_gives_the_lead_back_of_this_relay_only(connection: asyncpg.Connection) -> None:
    querier = outbox.AsyncQuerier(connection)
    await querier.lead(relay_id=ONE_RELAY, seconds=60)

    await querier.resign(relay_id=OTHER_RELAY)
    assert not await querier.lead(relay_id=OTHER_RELAY, seconds=60)
    await querier.resign(relay_id=ONE_RELAY)
    assert await querier.lead(relay_id=OTHER_RELAY, seconds=60)


async def test_available_stock_of_an_unknown_sku_is_none(connection: asyncpg.Connection) -> None:
    await add_stocks(connection, (1, 10, 0))

    assert await stocks.AsyncReader(connection).available_stock(sku=2) is None


async def test_backlog_counts_the_events_and_tells_how_old_the_oldest_is(connection: asyncpg.Connection) -> None:
    assert await outbox.AsyncReader(connection).backlog() == outbox.BacklogRow(0, 0.0)

    for id_ in (1, 2):
        await add_event(connection, id_, order_id=id_)

    found = await outbox.AsyncReader(connection).backlog()
    assert found is not None
    assert found.events == 2
    assert found.oldest_seconds != 0
