"""What the queries read when there is much to read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from cart_db import carts
from loms_db import orders, outbox, stocks
from loms_db.models import OrderStatus
from notifier_db import dead_letters, notifications

from tests.clock import FakeClock
from tests.postgres import create_database, session, tables_of
from tests.sql.queries import queries, services

pytestmark = pytest.mark.asyncio(loop_scope="session")

Execute: TypeAlias = Callable[[asyncpg.Connection], Awaitable[object]]

ROWS = 20_000
"""In each table."""
READ_AT_MOST = 100
EXECUTIONS = 7
"""The server plans a prepared statement five times for its arguments; then it may keep one plan for all of them."""

NOW = FakeClock()()
SOON = NOW + timedelta(minutes=5)
ID = 700
REQUEST_ID = UUID(int=ID)
BATCH = 5

NUMBERS = f"generate_series(1, {ROWS}) AS n"
MOMENT = f"'{NOW}'::timestamptz + n * interval '1 second'"
AS_UUID = "lpad(to_hex(n), 32, '0')::uuid"
WITHOUT_FOREIGN_KEYS = "SET session_replication_role = replica"
"""To check them would take longer than the rest."""

FILL = {
    "loms": f"""
        INSERT INTO stocks SELECT n, 1000, 500 FROM {NUMBERS} ON CONFLICT DO NOTHING;
        INSERT INTO orders (user_id, status, sequence, created_at)
        SELECT n, CASE WHEN n % 10 = 0 THEN 'awaiting payment' ELSE 'payed' END::order_status, 2, {MOMENT}
        FROM {NUMBERS};
        INSERT INTO order_items SELECT n, n, 1 FROM {NUMBERS};
        INSERT INTO requests SELECT n, {AS_UUID}, '', n, {MOMENT} FROM {NUMBERS};
        INSERT INTO outbox (event_id, order_id, sequence, user_id, status, moment)
        SELECT {AS_UUID}, n, 1, n, 'new', {MOMENT} FROM {NUMBERS};
    """,
    "cart": f"""
        INSERT INTO carts SELECT n, n, 0 FROM {NUMBERS};
        INSERT INTO cart_items SELECT n, n, 1 FROM {NUMBERS};
        INSERT INTO checkouts SELECT n, {AS_UUID}, n, {MOMENT} FROM {NUMBERS};
    """,
    "notifier": f"""
        INSERT INTO order_sequences SELECT n, 1 FROM {NUMBERS};
        INSERT INTO notifications SELECT n, 1, 'new', {MOMENT}, n FROM {NUMBERS};
        INSERT INTO dead_letters (event_id, order_id, partition, position, key, value, headers, error)
        SELECT n, n, 0, n, '', '', '[]', 'wrong' FROM {NUMBERS};
    """,
}
"""Row n is of order n, sku n, user n and request n, and was made n seconds after NOW."""

EXECUTE: dict[str, dict[str, Execute]] = {
    "loms": {
        "create_order": lambda connection: orders.AsyncQuerier(connection).create_order(
            orders.CreateOrderParams(ID, UUID(int=0), b"", NOW, [ID, ID + 1], [1, 1], None)
        ),
        "order_of_request": lambda connection: orders.AsyncReader(connection).order_of_request(
            user_id=ID, request_id=REQUEST_ID
        ),
        "forget_requests": lambda connection: orders.AsyncQuerier(connection).forget_requests(
            used_before=SOON, batch=BATCH
        ),
        "order": lambda connection: orders.AsyncReader(connection).order(order_id=ID, owner=ID),
        "change_order": lambda connection: orders.AsyncQuerier(connection).change_order(
            orders.ChangeOrderParams(ID, ID, OrderStatus.PAYED, sold=True, moment=NOW, traceparent=None)
        ),
        "change_unpaid_orders": lambda connection: orders.AsyncQuerier(connection).change_unpaid_orders(
            orders.ChangeUnpaidOrdersParams(SOON, BATCH, OrderStatus.CANCELLED, sold=False, moment=NOW)
        ),
        "unsent_events": lambda connection: outbox.AsyncReader(connection).unsent_events(batch=BATCH),
        "backlog": lambda connection: outbox.AsyncReader(connection).backlog(),
        "delete_events": lambda connection: outbox.AsyncQuerier(connection).delete_events(ids=[ID]),
        "lead": lambda connection: outbox.AsyncQuerier(connection).lead(relay_id=REQUEST_ID, seconds=1),
        "resign": lambda connection: outbox.AsyncQuerier(connection).resign(relay_id=REQUEST_ID),
        "available_stock": lambda connection: stocks.AsyncReader(connection).available_stock(sku=ID),
    },
    "cart": {
        "cart": lambda connection: carts.AsyncReader(connection).cart(user_id=ID),
        "lock_cart": lambda connection: carts.AsyncQuerier(connection).lock_cart(user_id=ID),
        "add_item": lambda connection: carts.AsyncQuerier(connection).add_item(
            carts.AddItemParams(sku=ID + 1, count=1, user_id=ID, line_limit=10, cart_limit=10)
        ),
        "delete_item": lambda connection: carts.AsyncQuerier(connection).delete_item(user_id=ID, sku=ID),
        "clear_cart": lambda connection: carts.AsyncQuerier(connection).clear_cart(user_id=ID),
        "order_of_checkout": lambda connection: carts.AsyncReader(connection).order_of_checkout(
            user_id=ID, request_id=REQUEST_ID
        ),
        "remember_checkout": lambda connection: carts.AsyncQuerier(connection).remember_checkout(
            user_id=ID, request_id=REQUEST_ID, order_id=ID, moment=NOW
        ),
        "take_ordered": lambda connection: carts.AsyncQuerier(connection).take_ordered(
            version=ID, user_id=ID, skus=[ID, ID + 1], counts=[1, 1]
        ),
        "refuse_checkout": lambda connection: carts.AsyncQuerier(connection).refuse_checkout(user_id=ID, version=ID),
        "forget_checkouts": lambda connection: carts.AsyncQuerier(connection).forget_checkouts(
            used_before=SOON, batch=BATCH
        ),
    },
    "notifier": {
        "lock_orders": lambda connection: notifications.AsyncQuerier(connection).lock_orders(order_ids=[ID, ID + 1]),
        "locked_orders": lambda connection: notifications.AsyncReader(connection).locked_orders(order_ids=[ID, ID + 1]),
        "record_notifications": lambda connection: notifications.AsyncQuerier(connection).record_notifications(
            notifications.RecordNotificationsParams([ID, ID + 1], [2, 2], ["payed", "payed"], [NOW, NOW], [ID, ID + 1])
        ),
        "is_committed": lambda connection: notifications.AsyncReader(connection).is_committed(transaction_id="3"),
        "notifications_of_order": lambda connection: notifications.AsyncReader(connection).notifications_of_order(
            order_id=ID, owner=ID
        ),
        "park_events": lambda connection: dead_letters.AsyncQuerier(connection).park_events(
            dead_letters.ParkEventsParams(
                ["new", f"{ID}"], [ID, 0], [0, 0], [1, 2], [b"", b""], [b"", b""], ["[]", "[]"], ["wrong", "wrong"]
            )
        ),
        "dead_letters": lambda connection: dead_letters.AsyncReader(connection).dead_letters(after=ID, batch=BATCH),
        "delete_dead_letter": lambda connection: dead_letters.AsyncQuerier(connection).delete_dead_letter(id=ID),
        "change_error": lambda connection: dead_letters.AsyncQuerier(connection).change_error(id=ID, error="wrong"),
    },
}

CASES = [(service, query) for service, each in EXECUTE.items() for query in each]

ROWS_READ = "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def large(server: str) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """A connection to a database of each service with large tables."""
    async with AsyncExitStack() as stack:
        made = await asyncio.gather(
            *(
                create_database(server, *tables_of(service), WITHOUT_FOREIGN_KEYS, fill, "ANALYZE")
                for service, fill in FILL.items()
            )
        )
        yield {each: await stack.enter_async_context(session(dsn)) for each, dsn in zip(FILL, made, strict=True)}


async def rows_read(connection: asyncpg.Connection, execute: Execute) -> int:
    """How many rows of its tables the server reads for this. What it changes is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    before: int = await connection.fetchval(ROWS_READ)
    await execute(connection)
    after: int = await connection.fetchval(ROWS_READ)
    await transaction.rollback()
    return after - before


@pytest.mark.parametrize(("service", "query"), CASES)
async def test_a_query_reads_few_rows_of_large_tables(
    large: dict[str, asyncpg.Connection], service: str, query: str
) -> None:
    read = [await rows_read(large[service], EXECUTE[service][query]) for _ in range(EXECUTIONS)]

    assert max(read) <= READ_AT_MOST


@pytest.mark.parametrize(("service", "table"), [("loms", "outbox"), ("cart", "carts"), ("notifier", "notifications")])
async def test_what_reads_a_whole_table_is_noticed(
    large: dict[str, asyncpg.Connection], service: str, table: str
) -> None:
    assert await rows_read(large[service], lambda connection: connection.fetch(f"SELECT FROM {table}")) == ROWS


@pytest.mark.parametrize("service", services())
async def test_every_query_is_looked_at(service: str) -> None:
    assert set(EXECUTE[service]) == set(queries(service))
