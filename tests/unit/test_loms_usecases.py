"""What LOMS decides, whatever the storage and the transport are."""

from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.log import get_logger
from services.loms.memory import MemoryStorage, Stock
from services.loms.seed import seed_stocks
from services.loms.usecases import (
    Item,
    OrderNotFoundError,
    Orders,
    OrderStatusError,
    OutOfStockError,
    RequestIdReusedError,
    SkuNotFoundError,
    Status,
    Stocks,
    merged,
)
from tests.clock import FakeClock

SKU = 1


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage({SKU: Stock(100, 0), 2: Stock(100, 0)})


@pytest.fixture
def orders(storage: MemoryStorage, clock: FakeClock) -> Orders:
    return Orders(storage, clock, timedelta(minutes=10), get_logger("loms"))


async def test_a_sku_named_twice_is_one_line_with_the_sum(orders: Orders) -> None:
    order_id = await orders.create(7, [Item(2, 1), Item(SKU, 2), Item(2, 3)])

    assert (await orders.info(order_id)).items == (Item(SKU, 2), Item(2, 4))


async def test_a_sum_over_the_stock_is_refused_though_each_part_would_do(orders: Orders) -> None:
    with pytest.raises(OutOfStockError, match="not enough stock of sku 1"):
        await orders.create(7, [Item(SKU, 60), Item(SKU, 60)])


async def test_a_refused_order_is_readable_as_failed(orders: Orders) -> None:
    with pytest.raises(OutOfStockError):
        await orders.create(7, [Item(SKU, 101)])

    assert (await orders.info(1)).status is Status.FAILED


async def test_a_retry_gets_the_first_answer_and_another_order_is_refused(orders: Orders) -> None:
    request_id = uuid4()
    first = await orders.create(7, [Item(SKU, 1), Item(2, 2)], request_id)

    assert await orders.create(7, [Item(2, 2), Item(SKU, 1)], request_id) == first
    with pytest.raises(RequestIdReusedError):
        await orders.create(7, [Item(SKU, 1)], request_id)


async def test_a_request_id_is_forgotten_after_24_hours(orders: Orders, clock: FakeClock) -> None:
    request_id = uuid4()
    first = await orders.create(7, [Item(SKU, 1)], request_id)
    clock.move(hours=23, minutes=59)
    await orders.forget_requests()
    assert await orders.create(7, [Item(SKU, 1)], request_id) == first
    clock.move(minutes=1)
    await orders.forget_requests()

    assert await orders.create(7, [Item(SKU, 2)], request_id) != first


async def test_a_retry_of_a_refusal_is_refused_again(orders: Orders) -> None:
    request_id = uuid4()
    for _ in range(2):
        with pytest.raises(OutOfStockError):
            await orders.create(7, [Item(SKU, 101)], request_id)


async def test_paying_twice_is_paying_once(orders: Orders, storage: MemoryStorage) -> None:
    order_id = await orders.create(7, [Item(SKU, 3)])
    await orders.pay(order_id)
    await orders.pay(order_id)

    assert (await orders.info(order_id)).status is Status.PAYED
    assert await storage.available(SKU) == 97


async def test_cancelling_twice_is_cancelling_once(orders: Orders, storage: MemoryStorage) -> None:
    order_id = await orders.create(7, [Item(SKU, 3)])
    await orders.cancel(order_id)
    await orders.cancel(order_id)

    assert (await orders.info(order_id)).status is Status.CANCELLED
    assert await storage.available(SKU) == 100


async def test_a_paid_order_cannot_be_cancelled_nor_a_cancelled_one_paid(orders: Orders) -> None:
    paid, cancelled = await orders.create(7, [Item(SKU, 1)]), await orders.create(7, [Item(SKU, 1)])
    await orders.pay(paid)
    await orders.cancel(cancelled)

    with pytest.raises(OrderStatusError, match="order 1 is payed: it cannot become cancelled"):
        await orders.cancel(paid)
    with pytest.raises(OrderStatusError):
        await orders.pay(cancelled)


async def test_a_failed_order_can_be_neither_paid_nor_cancelled(orders: Orders) -> None:
    with pytest.raises(OutOfStockError):
        await orders.create(7, [Item(SKU, 101)])

    for change in (orders.pay, orders.cancel):
        with pytest.raises(OrderStatusError):
            await change(1)


@pytest.mark.parametrize("order_id", [404, 9223372036854775001])
async def test_an_unknown_order_is_not_found(orders: Orders, order_id: int) -> None:
    for call in (orders.info, orders.pay, orders.cancel):
        with pytest.raises(OrderNotFoundError):
            await call(order_id)


async def test_an_order_is_cancelled_when_its_ten_minutes_are_over_and_not_before(
    orders: Orders, clock: FakeClock, storage: MemoryStorage
) -> None:
    order_id = await orders.create(7, [Item(SKU, 3)])
    clock.move(minutes=10, milliseconds=-1)
    await orders.cancel_unpaid()
    assert (await orders.info(order_id)).status is Status.AWAITING_PAYMENT

    clock.move(milliseconds=1)
    await orders.cancel_unpaid()
    assert (await orders.info(order_id)).status is Status.CANCELLED
    assert await storage.available(SKU) == 100


async def test_a_paid_order_does_not_expire(orders: Orders, clock: FakeClock) -> None:
    order_id = await orders.create(7, [Item(SKU, 3)])
    await orders.pay(order_id)
    clock.move(minutes=11)
    await orders.cancel_unpaid()

    assert (await orders.info(order_id)).status is Status.PAYED


async def test_every_due_order_expires_in_one_go(clock: FakeClock, logs: list[dict[str, object]]) -> None:
    storage = MemoryStorage({SKU: Stock(1000, 0)})
    orders = Orders(storage, clock, timedelta(minutes=10), get_logger("loms"))
    for _ in range(250):
        await orders.create(7, [Item(SKU, 1)])
    clock.move(minutes=11)
    await orders.cancel_unpaid()

    assert await storage.available(SKU) == 1000
    assert [line["order_id"] for line in logs if line["event"] == "order expired"] == list(range(1, 251))


async def test_the_stock_of_an_unknown_sku_is_not_found(storage: MemoryStorage) -> None:
    with pytest.raises(SkuNotFoundError):
        await Stocks(storage).available(404)


def test_the_seed_never_reserves_more_than_there_is() -> None:
    stocks = seed_stocks()

    assert all(0 <= stock.reserved <= stock.total for stock in stocks.values())
    assert stocks[139818428].available == 0
    assert stocks[1076963].available == 265
    assert len(stocks) == 17


@given(st.lists(st.builds(Item, st.integers(1, 5), st.integers(1, 65535)), max_size=100))
def test_merging_keeps_every_unit_and_names_each_sku_once(items: list[Item]) -> None:
    lines = merged(items)

    assert [line.sku for line in lines] == sorted({item.sku for item in items})
    assert sum(line.count for line in lines) == sum(item.count for item in items)
