"""Every kind of query and every type, against PostgreSQL."""

import uuid
from dataclasses import asdict, fields, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from tests.unit.codegen.sqlc.golden import every_type, models, orders, outbox, view
from tests.unit.codegen.sqlc.golden.models import OrderStatus, WarehouseShelf

NOW = datetime(2026, 11, 21, 7, 6, 54, 123456, UTC)
REQUEST = uuid.UUID("0196f5e4-63a0-7a61-b6b9-5a8a8e5f4c11")

EVERY_TYPE = every_type.InsertEveryTypeParams(
    class_=True,
    small=-(2**15),
    real_number=0.5,
    double_number=0.1,
    price=Decimal("10.50"),
    name="шкаф",
    code="abc",
    raw=b"\x00\xff",
    day=date(2026, 2, 28),
    clock=time(23, 59, 59, 999999),
    clock_zoned=time(7, 30, tzinfo=timezone(timedelta(hours=3))),
    local_time=datetime(2026, 11, 21, 7, 6),  # noqa: DTZ001
    moment=NOW,
    span=timedelta(days=2, hours=3, microseconds=4),
    uuid=REQUEST,
    data='{"a": [1.10, null], "ключ": "\\""}',
    plain_data='{"a":  1}',
    shelf=WarehouseShelf.LEFT_RIGHT,
    numbers=[1, 2**63 - 1],
    words=["", "NULL", 'a "b", {c}'],
    shelves=[WarehouseShelf.VALUE_1ST, WarehouseShelf.НИША],
    documents=['"text"', "null", "{}"],
)


async def _order(querier: orders.AsyncQuerier, user_id: int = 7, status: OrderStatus = OrderStatus.NEW) -> int:
    order_id = await querier.insert_order(user_id=user_id, status=status, request_id=REQUEST, created_at=NOW)
    assert order_id is not None
    return order_id


async def test_one_is_the_row(connection: asyncpg.Connection) -> None:
    querier = orders.AsyncQuerier(connection)
    order_id = await _order(querier, status=OrderStatus.AWAITING_PAYMENT)
    expected = models.Order(order_id, 7, OrderStatus.AWAITING_PAYMENT, REQUEST, NOW)
    assert await querier.get_order(id=order_id) == expected
    assert await querier.lock_order(id=order_id) == expected


async def test_one_of_a_single_column_is_its_value(connection: asyncpg.Connection) -> None:
    querier = orders.AsyncQuerier(connection)
    order_id = await _order(querier)
    assert await querier.get_status(id=order_id) is OrderStatus.NEW
    assert await querier.get_request_id(id=order_id) == REQUEST


async def test_one_is_none_where_there_is_no_row(connection: asyncpg.Connection) -> None:
    reader = orders.AsyncReader(connection)
    assert await reader.get_order(id=0) is None
    assert await reader.get_status(id=0) is None
    assert await reader.get_request_id(id=0) is None


async def test_many_is_a_list_of_rows(connection: asyncpg.Connection) -> None:
    querier = orders.AsyncQuerier(connection)
    new, payed, _ = [
        await _order(querier, status=each) for each in (OrderStatus.NEW, OrderStatus.PAYED, OrderStatus.FAILED)
    ]
    found = await querier.list_orders(user_id=7, statuses=[OrderStatus.PAYED, OrderStatus.NEW])
    assert found == [orders.ListOrdersRow(new, OrderStatus.NEW), orders.ListOrdersRow(payed, OrderStatus.PAYED)]
    assert await querier.list_orders(user_id=8, statuses=list(OrderStatus)) == []


async def test_many_of_a_single_column_is_a_list_of_its_values(connection: asyncpg.Connection) -> None:
    querier = orders.AsyncQuerier(connection)
    await _order(querier, status=OrderStatus.CANCELLED)
    await _order(querier)
    assert await querier.list_statuses() == [OrderStatus.NEW, OrderStatus.CANCELLED]


async def test_many_may_be_iterated_over(connection: asyncpg.Connection) -> None:
    querier = orders.AsyncQuerier(connection)
    ids = [await _order(querier) for _ in range(120)]
    assert [row.id async for row in querier.iterate_list_orders(user_id=7, statuses=[OrderStatus.NEW])] == ids
    assert [status async for status in querier.iterate_list_statuses()] == [OrderStatus.NEW]


async def test_an_optional_parameter_may_be_none(connection: asyncpg.Connection) -> None:
    querier = orders.AsyncQuerier(connection)
    new, payed = await _order(querier), await _order(querier, status=OrderStatus.PAYED)
    since, until = NOW - timedelta(days=1), NOW
    assert await querier.find_orders(status=None, since=since, until=until, most=5) == [new, payed]
    assert await querier.find_orders(status=OrderStatus.PAYED, since=since, until=until, most=5) == [payed]
    assert await querier.find_orders(status=None, since=since, until=until, most=1) == [new]


async def test_execrows_counts(connection: asyncpg.Connection) -> None:
    querier = orders.AsyncQuerier(connection)
    order_id = await _order(querier, status=OrderStatus.AWAITING_PAYMENT)
    assert await querier.set_status(status=OrderStatus.PAYED, id=order_id) == 1
    assert await querier.set_status(status=OrderStatus.PAYED, id=order_id) == 0
    assert await querier.get_status(id=order_id) is OrderStatus.PAYED


async def test_exec_changes(connection: asyncpg.Connection) -> None:
    querier = orders.AsyncQuerier(connection)
    ids = [await _order(querier) for _ in range(3)]
    await querier.delete_orders(id=ids[0], id_2=ids[2])
    assert [order.id for order in await querier.order_of_each()] == [ids[0], ids[2]]


async def test_copyfrom_stores_rows_and_counts_them(connection: asyncpg.Connection) -> None:
    querier = orders.AsyncQuerier(connection)
    order_id = await _order(querier)
    assert await querier.add_items(orders.AddItemsParams(order_id, sku, count=sku * 2) for sku in (1, 2)) == 2
    assert await querier.list_items(order_id=order_id) == [
        models.OrderItem(order_id, sku=1, count=2),
        models.OrderItem(order_id, sku=2, count=4),
    ]
    assert await querier.add_items([]) == 0


async def test_an_embedded_row_is_a_model(connection: asyncpg.Connection) -> None:
    querier = orders.AsyncQuerier(connection)
    order_id = await _order(querier)
    await querier.add_items([orders.AddItemsParams(order_id, sku=1, count=2)])
    order = await querier.get_order(id=order_id)
    assert order is not None
    assert await querier.orders_with_items() == [orders.OrdersWithItemsRow(order, models.OrderItem(order_id, 1, 2))]
    assert await querier.order_of_each() == [order]


async def test_what_an_outer_join_does_not_find_is_none(connection: asyncpg.Connection) -> None:
    querier = orders.AsyncQuerier(connection)
    order_id = await _order(querier)
    await querier.add_items(orders.AddItemsParams(order_id, sku, count=5) for sku in (1, 2))
    await querier.add_stock(sku=2, total=3, reserved=0)
    assert await querier.orders_with_stocks() == [
        orders.OrdersWithStocksRow(models.OrderItem(order_id, 1, 5), None, None),
        orders.OrdersWithStocksRow(models.OrderItem(order_id, 2, 5), models.Stock(2, 3, 0), is_short=True),
    ]
    assert await querier.items_with_stock() == [
        orders.ItemsWithStockRow(1, 5, None, None),
        orders.ItemsWithStockRow(2, 5, 3, 0),
    ]


async def test_the_text_of_a_statement_reaches_the_server_as_it_was_written(connection: asyncpg.Connection) -> None:
    assert await orders.AsyncReader(connection).last_order() == orders.LastOrderRow(None, 0, 'a "\\d" in dollars: $$')


async def test_an_order_of_many_tables_is_one_statement(connection: asyncpg.Connection) -> None:
    querier = orders.AsyncQuerier(connection)
    await querier.add_stock(sku=1, total=10, reserved=0)
    await querier.add_stock(sku=2, total=1, reserved=1)
    event_ids = [uuid.uuid4(), uuid.uuid4()]
    wanted = orders.CreateOrderParams(
        skus=[1], counts=[4], user_id=7, request_id=None, now=NOW, event_ids=event_ids, payloads=['{"a": 1}', "{}"]
    )
    created = await querier.create_order(wanted)
    assert created is not None
    assert created == orders.CreateOrderRow(created.id, OrderStatus.AWAITING_PAYMENT, short_skus=[], events=2)
    assert await querier.list_items(order_id=created.id) == [models.OrderItem(created.id, 1, 4)]
    short = await querier.create_order(replace(wanted, skus=[1, 2, 3], counts=[1, 1, 1], event_ids=[], payloads=[]))
    assert short is not None
    assert short == orders.CreateOrderRow(short.id, OrderStatus.FAILED, short_skus=[2, 3], events=0)
    assert await outbox.AsyncQuerier(connection).sent(event_ids=event_ids) == 2


async def test_every_type_comes_back_as_it_was_given(connection: asyncpg.Connection) -> None:
    row = await every_type.AsyncQuerier(connection).insert_every_type(EVERY_TYPE)
    assert row is not None
    _expect_equal(row, EVERY_TYPE)


async def test_every_type_may_be_copied(connection: asyncpg.Connection) -> None:
    rows = [every_type.CopyEveryTypeParams(**_values(EVERY_TYPE))]
    assert await every_type.AsyncQuerier(connection).copy_every_type(rows) == 1
    [row] = await every_type.AsyncReader(connection).list_every_type()
    _expect_equal(row, EVERY_TYPE)


def _expect_equal(row: models.WarehouseEveryType, given: every_type.InsertEveryTypeParams) -> None:
    """In value and type; a UUID of asyncpg is one of its own."""
    found = _values(row)
    expected = {"id": row.id, **_values(given)}
    assert found == expected
    assert {name for name in found if not isinstance(found[name], type(expected[name]))} == set()
    assert {type(each) for each in row.shelves} == {WarehouseShelf}


def _values(row: Any) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}


async def test_every_type_may_be_null(connection: asyncpg.Connection) -> None:
    querier = every_type.AsyncQuerier(connection)
    names = [field.name for field in fields(every_type.InsertPerhapsParams)]
    row = await querier.insert_perhaps(every_type.InsertPerhapsParams(**dict.fromkeys(names)))
    assert row is not None
    assert row == models.WarehousePerhaps(row.id, **dict.fromkeys(names))
    assert await querier.shelf_of(id=row.id) is None
    assert await querier.shelves_of(id=row.id) is None


async def test_what_may_be_null_may_be_there(connection: asyncpg.Connection) -> None:
    querier = every_type.AsyncQuerier(connection)
    given = every_type.InsertPerhapsParams(
        flag=False,
        Small_Number=1,
        real_number=0.5,
        double_number=0.1,
        price=Decimal("1E+2"),
        name="",
        raw=b"",
        day=NOW.date(),
        moment=NOW,
        span=timedelta(0),
        uuid=REQUEST,
        data="null",
        shelf=WarehouseShelf.НИША,
        numbers=[],
        shelves=[WarehouseShelf.НИША],
    )
    row = await querier.insert_perhaps(given)
    assert row is not None
    assert row == models.WarehousePerhaps(row.id, **asdict(given))
    assert await querier.shelf_of(id=row.id) is WarehouseShelf.НИША
    assert await querier.shelves_of(id=row.id) == [WarehouseShelf.НИША]


async def test_the_null_of_json_is_not_the_null_of_sql(connection: asyncpg.Connection) -> None:
    given = replace(EVERY_TYPE, data="null")
    row = await every_type.AsyncQuerier(connection).insert_every_type(given)
    assert row is not None
    assert row.data == "null"


async def test_a_querier_takes_a_connection_of_a_pool(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        assert await view.AsyncReader(connection).list_open_orders() == []


async def test_a_reader_needs_no_right_to_write(connection: asyncpg.Connection) -> None:
    await connection.execute("SET TRANSACTION READ ONLY")
    reader = orders.AsyncReader(connection)
    assert await reader.list_orders(user_id=7, statuses=[]) == []
    assert await reader.last_order() is not None
    assert await view.AsyncReader(connection).list_(rows=1) == []
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await orders.AsyncQuerier(connection).lock_order(id=1)
