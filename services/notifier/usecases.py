"""What the notifier decides: which events are news, and which are parked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Protocol, TypeVar

from services.chassis.errors import AppError
from services.chassis.log import Logger, trace_facts
from services.chassis.metrics import Counter, counter

T = TypeVar("T")

ATTEMPTS = 3
"""How often an event is tried that fails on its own."""
PAUSE_SECONDS = 0.002
PAGE = 500
BEHIND = "an earlier event of its order is parked"
NOTIFICATIONS = counter("notifier_notifications", "Notifications of this status, each once.", "status")
DEAD_LETTERS = Counter("notifier_dead_letters", "Events that were parked.")


@dataclass(frozen=True, slots=True)
class Notification:
    """What the user is told of one change of an order."""

    order_id: int
    sequence: int
    """1 for the first change of the order, then without a gap."""
    status: str
    moment: datetime
    user_id: int
    """Whose order it is."""
    traceparent: str | None = field(default=None, compare=False)
    """The trace of the change, if it was part of one."""


@dataclass(frozen=True, slots=True)
class Event:
    """A change of an order as it came."""

    id: str
    """The same when the event comes again."""
    order_id: int | None
    """None if the key is no order id."""
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event with the notification that it asks for, which is of the event's order, or with what is wrong with it."""

    event: Event
    notification: Notification | None = None
    error: str = ""


Read = Callable[[Event], Arrived]
"""Finds out what an event asks for. Never raises."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a batch has led to."""

    news: Sequence[Notification]
    parked: Sequence[Arrived]
    """Each with its error."""


@dataclass(frozen=True, slots=True)
class Letter:
    """An event that is parked."""

    id: int
    """Within an order they ascend as its events came."""
    event: Event
    error: str
    parked_at: datetime


class Delivered(Enum):
    """What has become of a letter."""

    NEWS = auto()
    KNOWN = auto()
    """Its order had this notification or a later one."""
    GONE = auto()
    """Somebody else has delivered it."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many letters a replay has delivered, and how many stay."""

    delivered: int
    left: int


class Storage(Protocol):
    """The notifications and what is parked. Every method is one transaction: all of it happens or nothing."""

    async def record(self, batch: Sequence[Arrived]) -> Recorded:
        """Stores what `sort_out` says of the batch, while nobody else changes its orders.

        An event that is parked already is not parked again. What is news is given once,
        even if a call that failed has stored it.
        """
        ...

    async def notifications(self, order_id: int, owner: int | None = None) -> Sequence[Notification]:
        """Those of an order, in order: none if it is not the owner's where one is given."""
        ...

    async def letters(self, after: int, limit: int) -> Sequence[Letter]:
        """The first letters whose ids are above this one, in the order of their ids."""
        ...

    async def deliver(self, letter: Letter, notification: Notification) -> Delivered:
        """Takes a letter away and stores its notification, unless the order has this one or a later one."""
        ...

    async def keep(self, letter: Letter, error: str) -> None:
        """Says anew what is wrong with a letter."""
        ...


def orders_of(batch: Sequence[Arrived]) -> list[int]:
    """The ids of the orders of a batch, ascending."""
    return sorted({arrived.event.order_id for arrived in batch if arrived.event.order_id is not None})


def sort_out(batch: Sequence[Arrived], last_sequences: Mapping[int, int], waiting: Collection[int | None]) -> Recorded:
    """What of a batch is news and what is to be parked; the rest was there before.

    `last_sequences` says how far the orders are, and those `waiting` have something parked:
    behind that all of their later events are parked, too.
    """
    last, waits = dict(last_sequences), set(waiting)
    news: list[Notification] = []
    parked: dict[str, Arrived] = {}
    for arrived in batch:
        event, notification = arrived.event, arrived.notification
        if notification is None:
            parked.setdefault(event.id, arrived)
            waits.add(event.order_id)
        elif notification.sequence <= last.get(notification.order_id, 0):
            continue
        elif notification.order_id in waits:
            parked.setdefault(event.id, Arrived(event, error=BEHIND))
        else:
            last[notification.order_id] = notification.sequence
            news.append(notification)
    return Recorded(news, list(parked.values()))


class RefusedError(Exception):
    """Something cannot be stored, and the storage is there. It tells what went wrong without the data of it."""


async def refusable(work: Awaitable[T]) -> T:
    """Raises RefusedError where the work raises anything but an AppError."""
    try:
        return await work
    except AppError:
        raise
    except Exception as error:
        raise RefusedError(f"{type(error).__name__} {getattr(error, 'sqlstate', '')}".rstrip()) from error


class Notifications:
    """Gives each change of an order to its user once."""

    def __init__(self, storage: Storage, log: Logger) -> None:
        self._storage = storage
        self._log = log

    async def handle(self, batch: Sequence[Arrived]) -> None:
        """Records and logs what is news, in order, and parks what cannot be recorded.

        Raises AppError when the storage is not there, and what it raises when it takes not even
        what is parked: then all of the batch has to come again.
        """
        try:
            self._tell(await refusable(self._storage.record(batch)))
        except RefusedError as refused:
            if len(batch) == 1:
                self._tell(await self._record_or_park(batch[0], refused))
                return
            middle = len(batch) // 2
            await self.handle(batch[:middle])
            await self.handle(batch[middle:])

    async def of_order(self, order_id: int, owner: int | None = None) -> Sequence[Notification]:
        """Those of an order, in order: none if it is not the owner's where one is given."""
        return await self._storage.notifications(order_id, owner)

    async def letters(self) -> AsyncIterator[Letter]:
        """What is parked, those of an order in the order of its events."""
        after = 0
        while page := await self._storage.letters(after, PAGE):
            for letter in page:
                yield letter
            after = page[-1].id

    async def replay(self, read: Read) -> Replayed:
        """Delivers what is parked: of each order, in order, until one fails again.

        It goes on for as long as something is delivered, because what comes to an order
        meanwhile is parked behind its last letter.
        """
        stopped: set[int | str] = set()
        delivered = 0
        while (once := await self._replay_once(read, stopped)).delivered > 0:
            delivered += once.delivered
        return Replayed(delivered, once.left)

    async def _replay_once(self, read: Read, stopped: set[int | str]) -> Replayed:
        """Goes once through what is parked, but for the orders that have stopped, and adds to these."""
        delivered = left = 0
        async for letter in self.letters():
            line = letter.event.order_id or letter.event.id
            outcome = None if line in stopped else await self._deliver(letter, read)
            if outcome is None:
                stopped.add(line)
                left += 1
            elif outcome is not Delivered.GONE:
                delivered += 1
        return Replayed(delivered, left)

    async def _record_or_park(self, arrived: Arrived, refused: RefusedError) -> Recorded:
        """Records an event that was refused, or parks it when it is refused again and again."""
        for _ in range(ATTEMPTS - 1):
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                return await refusable(self._storage.record([arrived]))
            except RefusedError as again:
                refused = again
        return await self._storage.record([Arrived(arrived.event, error=str(refused))])

    async def _deliver(self, letter: Letter, read: Read) -> Delivered | None:
        """None if it still fails."""
        arrived = read(letter.event)
        if arrived.notification is None:
            await self._storage.keep(letter, arrived.error)
            return None
        try:
            delivered = await refusable(self._storage.deliver(letter, arrived.notification))
        except RefusedError as refused:
            await self._storage.keep(letter, str(refused))
            return None
        if delivered is Delivered.NEWS:
            self._tell(Recorded([arrived.notification], []))
        return delivered

    def _tell(self, recorded: Recorded) -> None:
        for notification in recorded.news:
            NOTIFICATIONS.add(notification.status)
            self._log.info(
                "order status changed",
                order_id=notification.order_id,
                status=notification.status,
                **trace_facts(notification.traceparent),
            )
        for arrived in recorded.parked:
            DEAD_LETTERS.inc()
            event = arrived.event
            self._log.warning(
                "event parked",
                partition=event.partition,
                offset=event.offset,
                order_id=event.order_id,
                error=arrived.error,
            )
