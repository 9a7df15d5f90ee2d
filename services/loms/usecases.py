"""What LOMS decides: when an order may change, and what an answer means."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Protocol
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.errors import AbortedError, FailedPreconditionError, NotFoundError
from services.chassis.log import Logger
from services.chassis.metrics import counter

EXPIRY_BATCH = 100
FORGET_BATCH = 1000
ORDERS = counter("loms_orders", "Orders that got this status.", "status")
"""Counted by the storages, which know what is committed and what was there before."""
REQUEST_ID_LIFE = timedelta(hours=24)


class Status(StrEnum):
    """Where an order stands, in the words of the contract."""

    NEW = "new"
    AWAITING_PAYMENT = "awaiting payment"
    FAILED = "failed"
    PAYED = "payed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Item:
    """Units of one sku."""

    sku: int
    count: int


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order that somebody wants. `items` has each sku once, in sku order."""

    user_id: int
    items: tuple[Item, ...]
    request_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it stands. `items` is in sku order."""

    order_id: int
    user_id: int
    status: Status
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Created:
    """What became of a new order: it awaits payment, or it failed for the skus that were short."""

    order_id: int
    short: tuple[int, ...] = ()


class StockEffect(Enum):
    """What happens to the reserved units of an order."""

    SELL = "sell"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Change:
    """A step of an order that awaits payment."""

    target: Status
    stock: StockEffect


PAY = Change(Status.PAYED, StockEffect.SELL)
CANCEL = Change(Status.CANCELLED, StockEffect.RELEASE)


class OrderNotFoundError(NotFoundError):
    reason = "ORDER_NOT_FOUND"

    def __init__(self, order_id: int) -> None:
        super().__init__(f"there is no order {order_id}", order_id=order_id)


class SkuNotFoundError(NotFoundError):
    reason = "SKU_NOT_FOUND"

    def __init__(self, sku: int) -> None:
        super().__init__(f"there is no stock of sku {sku}", sku=sku)


class OutOfStockError(FailedPreconditionError):
    reason = "OUT_OF_STOCK"

    def __init__(self, skus: Sequence[int]) -> None:
        listed = ", ".join(map(str, skus))
        super().__init__(f"not enough stock of sku {listed}", skus=listed)


class OrderStatusError(FailedPreconditionError):
    reason = "ORDER_STATUS"

    def __init__(self, order_id: int, status: Status, target: Status) -> None:
        super().__init__(f"order {order_id} is {status}: it cannot become {target}", order_id=order_id, status=status)


class RequestIdReusedError(AbortedError):
    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: UUID) -> None:
        super().__init__(f"request_id {request_id} was used for another order", request_id=request_id)


class Storage(Protocol):
    """Orders and stock. Every method is one transaction: all of it happens or nothing."""

    async def create(self, order: NewOrder, now: datetime) -> Created:
        """Reserves every item and stores the order as awaiting payment, or, when an item is
        short, reserves nothing and stores it as failed. Writes an event for `new` and one for
        what it became.

        For a request_id that the user has used before it does nothing and gives what was
        given then. Raises RequestIdReusedError when that was for other items.
        """
        ...

    async def forget_requests(self, used_before: datetime, limit: int) -> int:
        """Forgets at most `limit` of the request_ids that were first used until then, and gives how many it were."""
        ...

    async def order(self, order_id: int, owner: int | None = None) -> Order | None:
        """The order, or None if there is none, or if it is not the owner's where one is given."""
        ...

    async def change(self, order_id: int, change: Change, now: datetime, owner: int | None = None) -> Status | None:
        """Makes the change, with its stock and its event, if the order awaits payment. Gives the
        status that it found, or None if there is no such order, or if it is not the owner's where one is given.
        """
        ...

    async def change_unpaid(self, created_before: datetime, change: Change, now: datetime, limit: int) -> list[int]:
        """Makes the change for at most `limit` orders that await payment and are that old. Gives their ids."""
        ...

    async def available(self, sku: int) -> int | None:
        """How many units can be reserved, never below 0; None if there is no stock row."""
        ...


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """A row of the outbox: an order got a status."""

    id: int
    """Its place in the outbox."""
    event_id: UUID
    order_id: int
    sequence: int
    """1 for the first event of the order, then without a gap."""
    user_id: int
    status: Status
    moment: datetime
    traceparent: str | None = None
    """The trace of the call that has changed the order."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is in the outbox."""

    events: int
    oldest_seconds: float
    """How long the oldest of them has been there."""


class Outbox(Protocol):
    """The events that are stored and not yet known to be sent, and who of those that could send them does."""

    async def lead(self, relay_id: UUID, seconds: float) -> bool:
        """Gives the lead to this relay for so long, if it has it or nobody does. Tells whether it has it."""
        ...

    async def resign(self, relay_id: UUID) -> None:
        """Takes the lead from this relay."""
        ...

    async def changed(self, seconds: float) -> None:
        """Waits until there may be more events, or that long."""
        ...

    async def unsent(self, limit: int) -> Sequence[StatusChanged]:
        """The oldest of them, those of one order in order."""
        ...

    async def sent(self, events: Sequence[StatusChanged]) -> None:
        """Forgets these."""
        ...

    async def backlog(self) -> Backlog:
        """How many there are, and how old."""
        ...


class Orders:
    """Creates orders and leads them to their end. Where an `owner` is given, there are no orders but his."""

    def __init__(self, storage: Storage, clock: Clock, time_to_pay: timedelta, log: Logger) -> None:
        self._storage = storage
        self._clock = clock
        self._time_to_pay = time_to_pay
        self._log = log

    async def create(self, user_id: int, items: Iterable[Item], request_id: UUID | None = None) -> int:
        """Creates an order and gives its id. Raises OutOfStockError, RequestIdReusedError."""
        created = await self._storage.create(NewOrder(user_id, merged(items), request_id), self._clock())
        if created.short:
            raise OutOfStockError(created.short)
        return created.order_id

    async def info(self, order_id: int, owner: int | None = None) -> Order:
        """The order. Raises OrderNotFoundError."""
        order = await self._storage.order(order_id, owner)
        if order is None:
            raise OrderNotFoundError(order_id)
        return order

    async def pay(self, order_id: int, owner: int | None = None) -> None:
        """Takes note of a payment. Raises OrderNotFoundError, OrderStatusError."""
        await self._change(order_id, PAY, owner)

    async def cancel(self, order_id: int, owner: int | None = None) -> None:
        """Cancels the order. Raises OrderNotFoundError, OrderStatusError."""
        await self._change(order_id, CANCEL, owner)

    async def cancel_unpaid(self) -> None:
        """Cancels every order whose time to pay is over."""
        expired = [EXPIRY_BATCH]
        while len(expired) > 0:
            now = self._clock()
            expired = await self._storage.change_unpaid(now - self._time_to_pay, CANCEL, now, EXPIRY_BATCH)
            for order_id in expired:
                self._log.info("order expired", order_id=order_id)

    async def forget_requests(self) -> None:
        """Forgets every request_id whose life is over: it may be used for another order then."""
        forgotten = FORGET_BATCH
        while forgotten == FORGET_BATCH:
            forgotten = await self._storage.forget_requests(self._clock() - REQUEST_ID_LIFE, FORGET_BATCH)

    async def _change(self, order_id: int, change: Change, owner: int | None) -> None:
        found = await self._storage.change(order_id, change, self._clock(), owner)
        if found is None:
            raise OrderNotFoundError(order_id)
        if found not in (Status.AWAITING_PAYMENT, change.target):
            raise OrderStatusError(order_id, found, change.target)


class Stocks:
    """Tells what can be ordered."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def available(self, sku: int) -> int:
        """How many units can be ordered now. Raises SkuNotFoundError."""
        available = await self._storage.available(sku)
        if available is None:
            raise SkuNotFoundError(sku)
        return available


def merged(items: Iterable[Item]) -> tuple[Item, ...]:
    """The items in sku order, those of the same sku summed into one."""
    counts: Counter[int] = Counter()
    for item in items:
        counts[item.sku] += item.count
    return tuple(Item(sku, counts[sku]) for sku in sorted(counts))
