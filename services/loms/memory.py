"""Orders and stock in the memory of the process.

No method awaits anything, so nothing runs between its first line and its last:
that is what makes each of them a transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count, islice, takewhile
from uuid import UUID, uuid4

from services.chassis.bell import Bell
from services.chassis.call import current_traceparent
from services.chassis.clock import utc_now
from services.loms.usecases import (
    ORDERS,
    Backlog,
    Change,
    Created,
    Item,
    NewOrder,
    Order,
    RequestIdReusedError,
    Status,
    StatusChanged,
    StockEffect,
)


@dataclass(slots=True)
class Stock:
    """The units of a sku: all that are there, and those of them that are promised."""

    total: int
    reserved: int

    @property
    def available(self) -> int:
        return max(0, self.total - self.reserved)


@dataclass(frozen=True, slots=True)
class _Request:
    order: NewOrder
    created: Created
    used_at: datetime


class MemoryStorage:
    """Orders, stock and the outbox. They are gone when the process ends."""

    def __init__(self, stocks: Mapping[int, Stock]) -> None:
        self._stocks = dict(stocks)
        self._order_ids = count(1)
        self._orders: dict[int, Order] = {}
        self._unpaid: dict[int, datetime] = {}
        """When the orders that await payment were created, oldest first."""
        self._requests: dict[tuple[int, UUID], _Request] = {}
        """Oldest first."""
        self._sequences: dict[int, int] = {}
        self._event_ids = count(1)
        self._bell = Bell()
        self._outbox: dict[int, StatusChanged] = {}

    async def create(self, order: NewOrder, now: datetime) -> Created:
        if order.request_id is None:
            return self._create(order, now)
        key = (order.user_id, order.request_id)
        if key not in self._requests:
            self._requests[key] = _Request(order, self._create(order, now), now)
        first = self._requests[key]
        if first.order != order:
            raise RequestIdReusedError(order.request_id)
        return first.created

    async def forget_requests(self, used_before: datetime, limit: int) -> int:
        old = takewhile(lambda request: request[1].used_at <= used_before, self._requests.items())
        forgotten = [key for key, _ in islice(old, limit)]
        for key in forgotten:
            del self._requests[key]
        return len(forgotten)

    def _create(self, order: NewOrder, now: datetime) -> Created:
        order_id = next(self._order_ids)
        short = tuple(item.sku for item in order.items if self._free(item.sku) < item.count)
        self._save(Order(order_id, order.user_id, Status.NEW, order.items), now)
        if short:
            self._save(replace(self._orders[order_id], status=Status.FAILED), now)
            return Created(order_id, short)
        for item in order.items:
            self._stocks[item.sku].reserved += item.count
        self._save(replace(self._orders[order_id], status=Status.AWAITING_PAYMENT), now)
        self._unpaid[order_id] = now
        return Created(order_id)

    async def order(self, order_id: int, owner: int | None = None) -> Order | None:
        order = self._orders.get(order_id)
        return order if order and owner in {None, order.user_id} else None

    async def change(self, order_id: int, change: Change, now: datetime, owner: int | None = None) -> Status | None:
        order = await self.order(order_id, owner)
        if order is None:
            return None
        if order.status is Status.AWAITING_PAYMENT:
            self._change(order, change, now)
        return order.status

    async def change_unpaid(self, created_before: datetime, change: Change, now: datetime, limit: int) -> list[int]:
        old = takewhile(lambda unpaid: unpaid[1] <= created_before, self._unpaid.items())
        due = [order_id for order_id, _ in islice(old, limit)]
        for order_id in due:
            self._change(self._orders[order_id], change, now)
        return due

    async def available(self, sku: int) -> int | None:
        stock = self._stocks.get(sku)
        return stock.available if stock else None

    async def lead(self, relay_id: UUID, seconds: float) -> bool:
        return True  # nobody else can see this memory

    async def resign(self, relay_id: UUID) -> None:
        pass

    async def changed(self, seconds: float) -> None:
        await self._bell.wait(seconds)

    async def unsent(self, limit: int) -> Sequence[StatusChanged]:
        return list(islice(self._outbox.values(), limit))

    async def sent(self, events: Sequence[StatusChanged]) -> None:
        for event in events:
            self._outbox.pop(event.id, None)

    async def backlog(self) -> Backlog:
        oldest = next(iter(self._outbox.values()), None)
        age = (utc_now() - oldest.moment).total_seconds() if oldest else 0.0
        return Backlog(len(self._outbox), max(0.0, age))

    def _free(self, sku: int) -> int:
        stock = self._stocks.get(sku)
        return stock.available if stock else 0

    def _change(self, order: Order, change: Change, now: datetime) -> None:
        self._move_stock(order.items, change.stock)
        self._save(replace(order, status=change.target), now)
        del self._unpaid[order.order_id]

    def _move_stock(self, items: Iterable[Item], effect: StockEffect) -> None:
        for item in items:
            stock = self._stocks[item.sku]
            stock.reserved -= item.count
            if effect is StockEffect.SELL:
                stock.total -= item.count

    def _save(self, order: Order, now: datetime) -> None:
        """Stores the order and the event of the status that it got."""
        self._orders[order.order_id] = order
        sequence = self._sequences.get(order.order_id, 0) + 1
        self._sequences[order.order_id] = sequence
        event = StatusChanged(
            *(next(self._event_ids), uuid4(), order.order_id, sequence),
            *(order.user_id, order.status, now, current_traceparent()),
        )
        self._outbox[event.id] = event
        ORDERS.add(order.status)
        self._bell.ring()
