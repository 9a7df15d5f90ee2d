"""What every storage of LOMS promises."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Protocol
from uuid import UUID, uuid4

import pytest

from services.loms import memory, postgres, usecases
from services.loms.usecases import CANCEL, PAY, Created, Item, NewOrder, Order, RequestIdReusedError, Status
from tests.clock import FakeClock
from tests.postgres import session
from tests.storage.conftest import Databases

SKU, OTHER_SKU, UNKNOWN_SKU = 1, 2, 404


class Storage(usecases.Storage, usecases.Outbox, Protocol):
    """Orders, stock and outbox, as one storage."""


STOCKS = {SKU: (100, 0), OTHER_SKU: (10, 10)}


@pytest.fixture
async def storage(way: Databases | None) -> AsyncIterator[Storage]:
    if way is None:
        yield memory.MemoryStorage({sku: memory.Stock(*units) for sku, units in STOCKS.items()})
        return
    async with way("loms") as connected:
        rows = [(sku, *units) for sku, units in STOCKS.items()]
        async with session(connected.dsn) as connection:
            await connection.executemany("INSERT INTO stocks VALUES ($1, $2, $3)", rows)
        yield postgres.PostgresStorage(connected.database, connected.database)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def order(count: int = 1, sku: int = SKU, *, user_id: int = 7, request_id: UUID | None = None) -> NewOrder:
    return NewOrder(user_id, (Item(sku, count),), request_id)


async def statuses(storage: Storage) -> dict[int, list[str]]:
    """The events in the outbox, by order; fails where an order's sequence has a gap."""
    found: dict[int, list[str]] = defaultdict(list)
    for event in await storage.unsent(1_000_000):
        found[event.order_id].append(event.status)
        assert event.sequence == len(found[event.order_id])
    return dict(found)


async def test_an_order_whose_items_are_there_awaits_payment_and_reserves_them(
    storage: Storage, clock: FakeClock
) -> None:
    created = await storage.create(order(3), clock())

    assert created == Created(created.order_id)
    assert await storage.order(created.order_id) == Order(created.order_id, 7, Status.AWAITING_PAYMENT, (Item(SKU, 3),))
    assert await storage.available(SKU) == 97


@pytest.mark.parametrize("short", [Item(SKU, 101), Item(OTHER_SKU, 1), Item(UNKNOWN_SKU, 1)])
async def test_an_order_with_a_short_item_fails_reserves_nothing_and_stays_readable(
    storage: Storage, clock: FakeClock, short: Item
) -> None:
    items = tuple(sorted({Item(SKU, 1), short} if short.sku != SKU else {short}, key=lambda item: item.sku))
    created = await storage.create(NewOrder(7, items), clock())

    assert created.short == (short.sku,)
    assert await storage.order(created.order_id) == Order(created.order_id, 7, Status.FAILED, items)
    assert await storage.available(SKU) == 100


async def test_exactly_what_is_there_can_be_ordered(storage: Storage, clock: FakeClock) -> None:
    assert not (await storage.create(order(100), clock())).short
    assert await storage.available(SKU) == 0


async def test_an_unknown_order_or_sku_is_none(storage: Storage, clock: FakeClock) -> None:
    assert await storage.order(404) is None
    assert await storage.change(404, PAY, clock()) is None
    assert await storage.available(UNKNOWN_SKU) is None


async def test_an_order_is_not_there_for_anybody_but_its_owner(storage: Storage, clock: FakeClock) -> None:
    created = await storage.create(order(user_id=7), clock())
    found = await storage.order(created.order_id)
    before = await statuses(storage)

    for change in (PAY, CANCEL):
        assert await storage.change(created.order_id, change, clock(), owner=8) is None
    assert await storage.order(created.order_id, owner=8) is None
    assert (await storage.order(created.order_id), await statuses(storage)) == (found, before)
    assert await storage.order(created.order_id, owner=7) == found
    assert await storage.change(created.order_id, PAY, clock(), owner=7) is Status.AWAITING_PAYMENT
    assert await storage.change(created.order_id, PAY, clock(), owner=8) is None


async def test_a_paid_orders_units_are_gone_for_good(storage: Storage, clock: FakeClock) -> None:
    created = await storage.create(order(3), clock())

    assert await storage.change(created.order_id, PAY, clock()) is Status.AWAITING_PAYMENT
    assert await storage.available(SKU) == 97
    assert not (await storage.create(order(97), clock())).short
    assert (await storage.create(order(1), clock())).short


async def test_a_cancelled_orders_units_are_free_again(storage: Storage, clock: FakeClock) -> None:
    created = await storage.create(order(3), clock())

    assert await storage.change(created.order_id, CANCEL, clock()) is Status.AWAITING_PAYMENT
    assert await storage.available(SKU) == 100


@pytest.mark.parametrize(("first", "then"), [(PAY, PAY), (PAY, CANCEL), (CANCEL, PAY), (CANCEL, CANCEL)])
async def test_a_final_order_does_not_change_and_tells_its_status(
    storage: Storage, clock: FakeClock, first: usecases.Change, then: usecases.Change
) -> None:
    created = await storage.create(order(3), clock())
    await storage.change(created.order_id, first, clock())
    available = await storage.available(SKU)

    assert await storage.change(created.order_id, then, clock()) is first.target
    assert await storage.available(SKU) == available


async def test_a_failed_order_does_not_change(storage: Storage, clock: FakeClock) -> None:
    created = await storage.create(order(101), clock())

    assert await storage.change(created.order_id, PAY, clock()) is Status.FAILED
    assert await storage.available(SKU) == 100


async def test_every_status_change_is_an_event_in_order(storage: Storage, clock: FakeClock) -> None:
    paid = await storage.create(order(), clock())
    failed = await storage.create(order(101), clock())
    cancelled = await storage.create(order(), clock())
    clock.move(seconds=1)
    await storage.change(cancelled.order_id, CANCEL, clock())
    await storage.change(paid.order_id, PAY, clock())
    await storage.change(paid.order_id, PAY, clock())

    assert await statuses(storage) == {
        paid.order_id: ["new", "awaiting payment", "payed"],
        failed.order_id: ["new", "failed"],
        cancelled.order_id: ["new", "awaiting payment", "cancelled"],
    }
    last = (await storage.unsent(100))[-1]
    assert (last.order_id, last.user_id, last.moment) == (paid.order_id, 7, clock())


async def test_the_outbox_gives_the_oldest_events_until_they_are_sent(storage: Storage, clock: FakeClock) -> None:
    for _ in range(3):
        await storage.create(order(), clock())
    first = await storage.unsent(4)

    assert await storage.unsent(4) == first
    await storage.sent(first)
    assert [event.order_id for event in await storage.unsent(4)] == [3, 3]


async def test_a_request_id_has_one_effect_and_one_answer(storage: Storage, clock: FakeClock) -> None:
    request_id = uuid4()
    answers = await asyncio.gather(*(storage.create(order(request_id=request_id), clock()) for _ in range(30)))

    assert len(set(answers)) == 1
    assert await storage.available(SKU) == 99


async def test_a_request_id_remembers_a_refusal_too(storage: Storage, clock: FakeClock) -> None:
    request_id = uuid4()
    first = await storage.create(order(101, request_id=request_id), clock())

    assert first.short
    assert await storage.create(order(101, request_id=request_id), clock()) == first
    assert await statuses(storage) == {first.order_id: ["new", "failed"]}


async def test_a_request_id_is_not_for_another_order(storage: Storage, clock: FakeClock) -> None:
    request_id = uuid4()
    await storage.create(order(1, request_id=request_id), clock())

    with pytest.raises(RequestIdReusedError):
        await storage.create(order(2, request_id=request_id), clock())
    assert await storage.available(SKU) == 99


async def test_request_ids_of_different_users_do_not_meet(storage: Storage, clock: FakeClock) -> None:
    request_id = uuid4()
    first = await storage.create(order(1, request_id=request_id, user_id=1), clock())
    second = await storage.create(order(2, request_id=request_id, user_id=2), clock())

    assert first.order_id != second.order_id


async def test_a_request_id_is_forgotten_when_it_is_old_enough_the_oldest_first(
    storage: Storage, clock: FakeClock
) -> None:
    request_ids = [uuid4() for _ in range(3)]
    start = clock()
    for request_id in request_ids:
        await storage.create(order(request_id=request_id), clock())
        clock.move(hours=1)
    second = start + timedelta(hours=1)

    assert await storage.forget_requests(start - timedelta(seconds=1), 10) == 0
    assert await storage.forget_requests(second, 1) == 1
    assert await storage.forget_requests(second, 10) == 1
    assert await storage.forget_requests(second, 10) == 0
    again = [(await storage.create(order(request_id=request_id), clock())).order_id for request_id in request_ids]
    assert again == [4, 5, 3]


async def test_only_orders_that_are_old_enough_and_unpaid_expire_oldest_first(
    storage: Storage, clock: FakeClock
) -> None:
    made, moments = [], []
    for _ in range(4):
        made.append((await storage.create(order(), clock())).order_id)
        moments.append(clock())
        clock.move(minutes=1)
    await storage.change(made[0], PAY, clock())
    created_before = moments[2]

    assert await storage.change_unpaid(created_before, CANCEL, clock(), limit=1) == [made[1]]
    assert await storage.change_unpaid(created_before, CANCEL, clock(), limit=9) == [made[2]]
    assert await storage.change_unpaid(created_before, CANCEL, clock(), limit=9) == []
    assert await storage.available(SKU) == 98
    assert (await statuses(storage))[made[1]] == ["new", "awaiting payment", "cancelled"]


async def test_units_are_never_sold_twice_however_many_ask_at_once(storage: Storage, clock: FakeClock) -> None:
    created = await asyncio.gather(*(storage.create(order(user_id=user), clock()) for user in range(1, 501)))

    assert sum(not one.short for one in created) == 100
    assert await storage.available(SKU) == 0


async def test_of_payments_and_cancellations_at_once_one_kind_wins(storage: Storage, clock: FakeClock) -> None:
    made = [await storage.create(order(), clock()) for _ in range(100)]

    async def rivals(order_id: int) -> Iterable[Status | None]:
        changes = (PAY, CANCEL, PAY, CANCEL)
        return await asyncio.gather(*(storage.change(order_id, change, clock()) for change in changes))

    for found in await asyncio.gather(*(rivals(one.order_id) for one in made)):
        assert sorted(map(str, found)).count("awaiting payment") == 1
    events_of = await statuses(storage)
    assert all(len(chain) == 3 for chain in events_of.values())
    cancelled = sum(chain[-1] == "cancelled" for chain in events_of.values())
    assert await storage.available(SKU) == cancelled
