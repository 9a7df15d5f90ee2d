"""Two operations on one order and its stock, of which one is stopped within its statement until the other has ended
or waits for it: whatever they do then, they have done it one after the other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NamedTuple, Protocol

import pytest

from services.loms import usecases
from services.loms.memory import MemoryStorage, Stock
from services.loms.usecases import CANCEL, PAY
from tests.storage.conftest import Databases
from tests.storage.failpoints import VICTIM, Point, failpoint
from tests.storage.races import NOW, order, shop

RIVAL = "rival"
SKU, UNITS = 1, 2
LATER = NOW + timedelta(minutes=1)


class Storage(usecases.Storage, usecases.Outbox, Protocol):
    """Orders, stock and outbox, as one storage."""


class Outcome(NamedTuple):
    """What two operations answered, and what is there then."""

    victim: object
    rival: object
    available: int | None
    ways: list[list[str]]
    """The events of each order, in no order of the orders."""


async def create(storage: Storage) -> object:
    return (await storage.create(order(SKU, count=UNITS), LATER)).short


async def pay(storage: Storage) -> object:
    return await storage.change(1, PAY, LATER)


async def cancel(storage: Storage) -> object:
    return await storage.change(1, CANCEL, LATER)


async def expire(storage: Storage) -> object:
    return await storage.change_unpaid(NOW, CANCEL, LATER, 100)


Operation = Callable[[Storage], Awaitable[object]]
OPERATIONS: list[Operation] = [create, pay, cancel, expire]
STOPS = [
    (create, Point.BEGUN),
    (create, Point.INSERT_EVENT),
    (create, Point.UPDATE_STOCK),
    *((change, point) for change in (pay, cancel, expire) for point in Point),
]


def free_units(victim: Operation, point: Point, rival: Operation) -> int:
    """What is there beside the units of the first order: enough for one of two orders, or for
    none unless the first order is cancelled before; but an order that is stopped at its stock has to get it.
    """
    return UNITS if victim is create and (rival is create or point is Point.UPDATE_STOCK) else 0


async def outcome(storage: Storage, victim: object, rival: object) -> Outcome:
    ways: dict[int, list[str]] = {}
    for event in await storage.unsent(100):
        ways.setdefault(event.order_id, []).append(event.status)
    return Outcome(victim, rival, await storage.available(SKU), sorted(ways.values()))


async def one_after_the_other(victim: Operation, rival: Operation, free: int) -> list[Outcome]:
    """What may come of it: the outcomes of the two orders in which they can be done."""
    victim_first, rival_first = await in_memory(free), await in_memory(free)
    answer = await rival(rival_first)
    return [
        await outcome(victim_first, await victim(victim_first), await rival(victim_first)),
        await outcome(rival_first, await victim(rival_first), answer),
    ]


async def in_memory(free: int) -> Storage:
    storage = MemoryStorage({SKU: Stock(UNITS + free, 0)})
    await storage.create(order(SKU, count=UNITS), NOW)
    return storage


@pytest.mark.parametrize("rival", OPERATIONS)
@pytest.mark.parametrize(("victim", "point"), STOPS)
async def test_two_operations_at_once_end_as_if_one_had_come_after_the_other(
    databases: Databases, victim: Operation, point: Point, rival: Operation
) -> None:
    free = free_units(victim, point, rival)
    async with (
        shop(databases, {SKU: UNITS + free}) as raced,
        raced.storage(1, VICTIM) as one,
        raced.storage(1, RIVAL) as other,
    ):
        await other.create(order(SKU, count=UNITS), NOW)
        async with failpoint(raced.connection, point) as stop, asyncio.TaskGroup() as group:
            stopped = group.create_task(answer(victim, one))
            await stop.reached(stopped)
            running = group.create_task(answer(rival, other))
            await stop.done_or_waiting(running, RIVAL)
            await stop.go_on()
        found = await outcome(other, stopped.result(), running.result())

        assert found in await one_after_the_other(victim, rival, free)
        assert await raced.broken() == []


async def answer(operation: Operation, storage: Storage) -> object:
    return await operation(storage)
