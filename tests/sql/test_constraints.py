"""What no statement can store, whatever is wrong with a query."""

import asyncpg
import pytest

from tests.sql.connections import refused, rows
from tests.sql.queries import services

pytestmark = pytest.mark.asyncio(loop_scope="session")

STORED = {
    "loms": """
        INSERT INTO stocks (sku, total, reserved) VALUES (1, 10, 10);
        INSERT INTO orders (order_id, user_id, status, sequence, created_at) OVERRIDING SYSTEM VALUE
        VALUES (1, 7, 'awaiting payment', 2, now());
        INSERT INTO order_items (order_id, sku, count) VALUES (1, 1, 10);
        INSERT INTO requests (user_id, request_id, body_hash, order_id, created_at)
        VALUES (7, '00000000-0000-0000-0000-000000000001', '', 1, now());
        INSERT INTO outbox (id, order_id, sequence, user_id, status, moment) OVERRIDING SYSTEM VALUE
        VALUES (1, 1, 1, 7, 'new', now());
        INSERT INTO relay_lead (relay_id, expires_at) VALUES ('00000000-0000-0000-0000-000000000001', now());
    """,
    "cart": """
        INSERT INTO carts (user_id, version) VALUES (7, 1);
        INSERT INTO cart_items (user_id, sku, count) VALUES (7, 1, 1);
        INSERT INTO checkouts (user_id, request_id, order_id) VALUES (7, '00000000-0000-0000-0000-000000000001', 1);
    """,
    "notifier": """
        INSERT INTO order_sequences (order_id, last_sequence) VALUES (1, 1);
        INSERT INTO notifications (order_id, sequence, status, moment) VALUES (1, 1, 'new', now());
        INSERT INTO dead_letters (id, event_id, order_id, partition, position, key, value, headers, error)
        OVERRIDING SYSTEM VALUE VALUES (1, 'event', 1, 0, 0, '', '', '[]', 'wrong');
    """,
}
"""A row in each table."""

BREAKING = {
    "loms": [
        ("stocks_reserved_is_there", "UPDATE stocks SET reserved = 11"),
        ("stocks_reserved_is_there", "UPDATE stocks SET reserved = -1"),
        ("stocks_reserved_is_there", "UPDATE stocks SET total = 9"),
        ("stocks_pkey", "INSERT INTO stocks (sku, total) VALUES (1, 5)"),
        ("stocks_sku_check", "UPDATE stocks SET sku = 0"),
        ("stocks_sku_check", "UPDATE stocks SET sku = 4294967296"),
        ("orders_pkey", "INSERT INTO orders OVERRIDING SYSTEM VALUE TABLE orders"),
        ("orders_order_id_check", "INSERT INTO orders OVERRIDING SYSTEM VALUE VALUES (0, 7, 'new', 1, '{}', now())"),
        ("orders_user_id_check", "UPDATE orders SET user_id = 0"),
        ("orders_sequence_check", "UPDATE orders SET sequence = 0"),
        ("order_items_pkey", "INSERT INTO order_items (order_id, sku, count) VALUES (1, 1, 1)"),
        ("order_items_order_id_fkey", "UPDATE order_items SET order_id = 2"),
        ("order_items_order_id_fkey", "DELETE FROM orders"),
        ("order_items_sku_check", "UPDATE order_items SET sku = 0"),
        ("order_items_sku_check", "UPDATE order_items SET sku = 4294967296"),
        ("order_items_count_check", "UPDATE order_items SET count = 0"),
        ("order_items_count_check", "UPDATE order_items SET count = 6553501"),
        ("requests_pkey", "INSERT INTO requests SELECT user_id, request_id, 'other', 2, now() FROM requests"),
        ("requests_user_id_check", "UPDATE requests SET user_id = 0"),
        ("requests_order_id_check", "UPDATE requests SET order_id = 0"),
        ("outbox_pkey", "INSERT INTO outbox OVERRIDING SYSTEM VALUE TABLE outbox"),
        (
            "outbox_order_id_sequence_key",
            "INSERT INTO outbox OVERRIDING SYSTEM VALUE SELECT 2, gen_random_uuid(), 1, 1, 7, 'payed', now()",
        ),
        ("outbox_order_id_check", "UPDATE outbox SET order_id = 0"),
        ("outbox_sequence_check", "UPDATE outbox SET sequence = 0"),
        ("outbox_user_id_check", "UPDATE outbox SET user_id = 0"),
        ("relay_lead_pkey", "INSERT INTO relay_lead TABLE relay_lead"),
        ("relay_lead_is_only_check", "UPDATE relay_lead SET is_only = false"),
    ],
    "cart": [
        ("carts_pkey", "INSERT INTO carts (user_id, version) VALUES (7, 2)"),
        ("carts_user_id_check", "INSERT INTO carts (user_id, version) VALUES (0, 2)"),
        ("cart_items_pkey", "INSERT INTO cart_items (user_id, sku, count) VALUES (7, 1, 5)"),
        ("cart_items_user_id_fkey", "UPDATE cart_items SET user_id = 8"),
        ("cart_items_user_id_fkey", "DELETE FROM carts"),
        ("cart_items_sku_check", "UPDATE cart_items SET sku = 0"),
        ("cart_items_sku_check", "UPDATE cart_items SET sku = 4294967296"),
        ("cart_items_count_check", "UPDATE cart_items SET count = 0"),
        ("cart_items_count_check", "UPDATE cart_items SET count = 65536"),
        ("checkouts_pkey", "INSERT INTO checkouts SELECT user_id, request_id, 2 FROM checkouts"),
        ("checkouts_user_id_check", "UPDATE checkouts SET user_id = 0"),
        ("checkouts_order_id_check", "UPDATE checkouts SET order_id = 0"),
    ],
    "notifier": [
        ("order_sequences_pkey", "INSERT INTO order_sequences (order_id, last_sequence) VALUES (1, 2)"),
        ("order_sequences_order_id_check", "INSERT INTO order_sequences (order_id, last_sequence) VALUES (0, 1)"),
        ("order_sequences_last_sequence_check", "UPDATE order_sequences SET last_sequence = -1"),
        ("notifications_pkey", "INSERT INTO notifications VALUES (1, 1, 'payed', now())"),
        ("notifications_order_id_fkey", "UPDATE notifications SET order_id = 2"),
        ("notifications_order_id_fkey", "DELETE FROM order_sequences"),
        ("notifications_sequence_check", "UPDATE notifications SET sequence = 0"),
        ("notifications_status_check", "UPDATE notifications SET status = 'paid'"),
        ("notifications_user_id_check", "UPDATE notifications SET user_id = 0"),
        ("dead_letters_pkey", "INSERT INTO dead_letters OVERRIDING SYSTEM VALUE TABLE dead_letters"),
        (
            "dead_letters_event_id_key",
            "INSERT INTO dead_letters OVERRIDING SYSTEM VALUE VALUES (2, 'event', 1, 0, 1, '', '', '[]', 'wrong')",
        ),
        ("dead_letters_order_id_fkey", "UPDATE dead_letters SET order_id = 2"),
        ("dead_letters_partition_check", "UPDATE dead_letters SET partition = -1"),
        ("dead_letters_position_check", "UPDATE dead_letters SET position = -1"),
        ("dead_letters_headers_check", "UPDATE dead_letters SET headers = '{}'"),
        ("dead_letters_error_check", "UPDATE dead_letters SET error = ''"),
    ],
}
"""Constraints, each with a statement that they refuse."""

CONSTRAINTS = """
SELECT conname FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'p', 'u', 'x')
"""


@pytest.mark.parametrize(
    ("service", "constraint", "statement"), [(service, *case) for service in BREAKING for case in BREAKING[service]]
)
async def test_what_a_constraint_forbids_is_refused(
    connection: asyncpg.Connection, service: str, constraint: str, statement: str
) -> None:
    await connection.execute(STORED[service])

    async with refused(connection, asyncpg.IntegrityConstraintViolationError, constraint):
        await connection.execute(statement)


@pytest.mark.parametrize("service", services())
async def test_every_constraint_has_a_statement_that_breaks_it(connection: asyncpg.Connection, service: str) -> None:
    assert {name for (name,) in await rows(connection, CONSTRAINTS)} == {name for name, _ in BREAKING[service]}


@pytest.mark.parametrize("service", ["loms"])
@pytest.mark.parametrize("statement", ["UPDATE orders SET status = 'paid'", "UPDATE outbox SET status = ''"])
async def test_a_status_that_is_none_is_refused(connection: asyncpg.Connection, service: str, statement: str) -> None:
    await connection.execute(STORED[service])

    async with refused(connection, asyncpg.InvalidTextRepresentationError):
        await connection.execute(statement)


@pytest.mark.parametrize("service", ["loms"])
async def test_nobody_chooses_the_number_of_an_order_by_accident(connection: asyncpg.Connection, service: str) -> None:
    async with refused(connection, asyncpg.GeneratedAlwaysError):
        await connection.execute("INSERT INTO orders VALUES (5, 7, 'new', 1, '{}', now())")
    assert await rows(connection, "SELECT order_id FROM orders") == [], service
