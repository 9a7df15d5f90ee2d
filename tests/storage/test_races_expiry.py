"""Orders whose time to pay is over while they are paid, and while a worker dies at it."""

import asyncio
from collections import Counter

import pytest

from services.chassis.errors import UnavailableError
from services.loms.usecases import EXPIRY_BATCH, Orders, OrderStatusError
from tests.clock import FakeClock
from tests.storage.conftest import Databases
from tests.storage.failpoints import VICTIM, Point, failpoint
from tests.storage.races import TIME_TO_PAY, Shop, order, orders_of, part, shop

DUE = 500
UNITS = 5000
SMALL_BATCH = 5


async def due_orders(raced: Shop, clock: FakeClock, count: int) -> list[int]:
    """Orders of sku 1 whose time to pay is over."""
    async with raced.storage() as storage:
        made = await asyncio.gather(*(storage.create(order(1), clock()) for _ in range(count)))
    clock.move(seconds=TIME_TO_PAY.total_seconds())
    return [one.order_id for one in made]


async def test_of_orders_that_expire_on_two_replicas_while_they_are_paid_each_ends_once(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.loms.usecases.EXPIRY_BATCH", SMALL_BATCH)
    clock = FakeClock()
    ends: Counter[str] = Counter()
    rounds = part(10)
    async with (
        shop(databases, {1: UNITS}) as raced,
        raced.storage() as payers,
        raced.storage(1) as one,
        raced.storage(1) as other,
    ):
        for _ in range(rounds):
            order_ids = await due_orders(raced, clock, DUE)
            workers = [asyncio.create_task(orders_of(replica, clock).cancel_unpaid()) for replica in (one, other)]
            payments = (end_of_payment(orders_of(payers, clock), order_id) for order_id in order_ids)
            ends.update(await asyncio.gather(*payments))
            await asyncio.gather(*workers)
            assert await raced.statuses(1) == ends
            assert await raced.broken() == []

    assert ends.total() == rounds * DUE
    assert ends["payed"]
    assert ends["cancelled"]


async def end_of_payment(orders: Orders, order_id: int) -> str:
    """Pays an order and gives what its caller takes it for then."""
    try:
        await orders.pay(order_id)
    except OrderStatusError as error:
        return error.facts["status"]
    return "payed"


@pytest.mark.parametrize("point", list(Point))
async def test_what_a_worker_had_in_hand_when_it_died_is_cancelled_by_the_other_one(
    databases: Databases, point: Point
) -> None:
    clock = FakeClock()
    count = EXPIRY_BATCH * 3 // 2
    async with (
        shop(databases, {1: UNITS}) as raced,
        raced.storage(1, VICTIM, attempts=1) as mortal,
        raced.storage(1) as other,
    ):
        await due_orders(raced, clock, count)
        async with failpoint(raced.connection, point) as stop:
            worker = asyncio.create_task(orders_of(mortal, clock).cancel_unpaid())
            await stop.reached(worker)
            await stop.kill()
            with pytest.raises(UnavailableError):
                await worker
        await orders_of(other, clock).cancel_unpaid()

        assert await raced.statuses(1) == {"cancelled": count}
        assert await raced.broken() == []


async def test_an_order_that_is_being_paid_holds_up_no_other_that_expires(databases: Databases) -> None:
    clock = FakeClock()
    async with (
        shop(databases, {1: UNITS}) as raced,
        raced.storage(1, VICTIM) as payer,
        raced.storage(1, "worker") as replica,
    ):
        order_ids = await due_orders(raced, clock, 3)
        async with failpoint(raced.connection, Point.UPDATE_ORDER) as stop:
            payment = asyncio.create_task(orders_of(payer, clock).pay(order_ids[0]))
            await stop.reached(payment)
            worker = asyncio.create_task(orders_of(replica, clock).cancel_unpaid())
            await stop.done_or_waiting(worker, "worker")
            was_held_up = not worker.done()
            await stop.go_on()
            await asyncio.gather(payment, worker)

        assert not was_held_up
        assert await raced.statuses(1) == {"payed": 1, "cancelled": 2}
        assert await raced.broken() == []
