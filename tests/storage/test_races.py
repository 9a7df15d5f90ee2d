"""Orders and stock while many ask for them at once."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence

from services.loms.usecases import Item, Orders, OrderStatusError, OutOfStockError
from tests.clock import FakeClock
from tests.storage.conftest import Databases
from tests.storage.races import NOW, order, orders_of, part, shop

CONNECTIONS, CLIENTS = 20, 32
HOT_SKUS = range(1, 21)
AT_ONCE = 10


async def test_of_a_hundred_units_exactly_a_hundred_are_promised_to_five_hundred_at_once(databases: Databases) -> None:
    skus = range(1, part(20) + 1)
    async with shop(databases, dict.fromkeys(skus, 100)) as raced, raced.storage(CONNECTIONS) as storage:
        for sku in skus:
            created = await asyncio.gather(*(storage.create(order(sku), NOW) for _ in range(500)))

            assert Counter(one.short for one in created) == {(): 100, (sku,): 400}
            assert await raced.statuses(sku) == {"awaiting payment": 100, "failed": 400}
            assert await storage.available(sku) == 0
        assert await raced.broken() == []


async def test_orders_of_several_skus_in_any_order_oversell_nothing_and_never_deadlock(databases: Databases) -> None:
    units = part(400)
    async with shop(databases, dict.fromkeys(HOT_SKUS, units)) as raced:
        before = await raced.deadlocks()
        async with raced.storage(CLIENTS) as storage:
            dice = random.Random(1)
            wanted = iter([dice.sample(HOT_SKUS, dice.randint(1, 4)) for _ in range(part(6000))])
            clients = (client(orders_of(storage, FakeClock()), wanted) for _ in range(CLIENTS))
            ends = await asyncio.gather(*clients, return_exceptions=True)

        assert await raced.deadlocks() == before
        assert await raced.broken() == []
    assert not [end for end in ends if isinstance(end, BaseException)]
    counts = [end for end in ends if isinstance(end, Counter)]
    assert set().union(*counts) == {"refused", "paid", "cancelled", "open"}


async def client(orders: Orders, wanted: Iterator[Sequence[int]]) -> Counter[str]:
    """Orders what is wanted next until nothing is, pays every third order, cancels every third, and counts them."""
    ends: Counter[str] = Counter()
    for skus in wanted:
        try:
            order_id = await orders.create(7, [Item(sku, 1) for sku in skus])
        except OutOfStockError:
            ends["refused"] += 1
            continue
        end = ("paid", "cancelled", "open")[order_id % 3]
        if end == "paid":
            await orders.pay(order_id)
        elif end == "cancelled":
            await orders.cancel(order_id)
        ends[end] += 1
    return ends


async def test_an_order_for_units_that_others_give_back_meanwhile_is_made_or_refused(databases: Databases) -> None:
    async with shop(databases, {1: 4}) as raced, raced.storage(CONNECTIONS) as storage:
        clients = (order_and_cancel(orders_of(storage, FakeClock()), part(100)) for _ in range(CONNECTIONS))
        ends = sum(await asyncio.gather(*clients), Counter[str]())

        assert await raced.statuses(1) == ends
        assert set(ends) == {"failed", "cancelled"}
        assert await raced.broken() == []


async def order_and_cancel(orders: Orders, times: int) -> Counter[str]:
    """Orders half of all units and gives them back, again and again, and counts what became of the orders."""
    ends: Counter[str] = Counter()
    for _ in range(times):
        try:
            order_id = await orders.create(7, [Item(1, 2)])
        except OutOfStockError:
            ends["failed"] += 1
            continue
        await orders.cancel(order_id)
        ends["cancelled"] += 1
    return ends


async def test_of_payments_and_cancellations_at_once_one_kind_succeeds_and_every_snapshot_adds_up(
    databases: Databases,
) -> None:
    async with shop(databases, {1: 5000, 2: 5000}) as raced, raced.storage(CONNECTIONS) as storage:
        orders = orders_of(storage, FakeClock())
        made = [(await storage.create(order(1, 2, count=2), NOW)).order_id for _ in range(max(200, part(1000)))]
        won: Counter[str] = Counter()
        snapshots = 0
        for order_ids in batched(made, AT_ONCE):
            async with asyncio.TaskGroup() as group:
                rivals = [group.create_task(winner(orders, order_id)) for order_id in order_ids]
                while not all(rival.done() for rival in rivals):
                    assert await raced.broken() == []
                    snapshots += 1
            won.update(rival.result() for rival in rivals)

        assert snapshots >= 20
        assert await raced.statuses(1) == won
        assert won["payed"]
        assert won["cancelled"]
        assert await raced.broken() == []


def batched(order_ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (order_ids[first : first + size] for first in range(0, len(order_ids), size))


async def winner(orders: Orders, order_id: int) -> str:
    """Pays an order twice and cancels it twice, all at once, and gives what it is then."""
    pay, cancel = ("payed", orders.pay), ("cancelled", orders.cancel)
    calls = [pay, cancel, pay, cancel] if order_id % 2 else [cancel, pay, cancel, pay]
    answers = await asyncio.gather(*(call(order_id) for _, call in calls), return_exceptions=True)
    ends = Counter((kind, type(answer)) for (kind, _), answer in zip(calls, answers, strict=True))
    status = (await orders.info(order_id)).status
    other = "cancelled" if status == "payed" else "payed"
    assert ends == {(status, type(None)): 2, (other, OrderStatusError): 2}
    return status
