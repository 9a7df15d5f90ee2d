"""Notifications in PostgreSQL.

Whatever changes an order locks its row first: the statement after that sees what
everybody before it has done.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_to_bytes

from notifier_db import dead_letters, models, notifications

from services.chassis.postgres import Connection, Database
from services.notifier.usecases import (
    Arrived,
    Delivered,
    Event,
    Letter,
    Notification,
    Recorded,
    orders_of,
    sort_out,
)

NO_ORDER = 0
NOBODY = 0
"""Whose orders those are that were recorded before their users were."""


@dataclass(slots=True)
class Locked:
    """A transaction that has locked orders."""

    querier: notifications.AsyncQuerier
    id: str = ""
    new: Sequence[Notification] = ()
    """What it has stored."""
    stored_before: frozenset[Notification] = frozenset()
    """What one has stored whose commit was not answered."""


class PostgresStorage:
    """Notifications and letters."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unanswered: dict[Notification, str] = {}
        """What was stored by a transaction whose commit was not answered, and which that was."""

    async def record(self, batch: Sequence[Arrived]) -> Recorded:
        order_ids = orders_of(batch)
        wanted = [arrived.notification for arrived in batch if arrived.notification is not None]

        async def work(connection: Connection) -> Recorded:
            async with self._locked(connection, order_ids, wanted) as locked:
                orders = await locked.querier.locked_orders(order_ids=order_ids)
                last = {order.order_id: order.last_sequence for order in orders}
                found = sort_out(batch, last, {order.order_id for order in orders if order.is_parked})
                await store(locked, found.news)
                parked = await park(connection, found.parked)
            return Recorded(news_of(locked, wanted), parked)

        return await self._database.write(work, repeatable=True)

    async def notifications(self, order_id: int, owner: int | None = None) -> Sequence[Notification]:
        rows = await self._database.read(
            lambda connection: notifications.AsyncReader(connection).notifications_of_order(
                order_id=order_id, owner=owner
            )
        )
        return [Notification(row.order_id, row.sequence, row.status, row.moment, row.user_id or NOBODY) for row in rows]

    async def letters(self, after: int, limit: int) -> Sequence[Letter]:
        rows = await self._database.read(
            lambda connection: dead_letters.AsyncReader(connection).dead_letters(after=after, batch=limit)
        )
        return [to_letter(row) for row in rows]

    async def deliver(self, letter: Letter, notification: Notification) -> Delivered:
        order_ids, wanted = [notification.order_id], [notification]

        async def work(connection: Connection) -> Delivered:
            async with self._locked(connection, order_ids, wanted) as locked:
                [order] = await locked.querier.locked_orders(order_ids=order_ids)
                deleted = await dead_letters.AsyncQuerier(connection).delete_dead_letter(id=letter.id)
                if deleted and notification.sequence > order.last_sequence:
                    await store(locked, wanted)
            if news_of(locked, wanted):
                return Delivered.NEWS
            return Delivered.KNOWN if deleted else Delivered.GONE

        return await self._database.write(work, repeatable=True)

    async def keep(self, letter: Letter, error: str) -> None:
        await self._database.write(
            lambda connection: dead_letters.AsyncQuerier(connection).change_error(id=letter.id, error=error),
            repeatable=True,
        )

    @asynccontextmanager
    async def _locked(
        self, connection: Connection, order_ids: Sequence[int], wanted: Sequence[Notification]
    ) -> AsyncIterator[Locked]:
        """A transaction that has locked these orders and may store what is wanted."""
        locked = Locked(notifications.AsyncQuerier(connection))
        try:
            async with connection.transaction():
                locked.id = await locked.querier.lock_orders(order_ids=order_ids) or ""
                locked.stored_before = await self._stored_before(locked, wanted)
                yield locked
        except Exception:
            self._unanswered.update(dict.fromkeys(locked.new, locked.id))
            raise
        if self._unanswered:
            for notification in wanted:
                self._unanswered.pop(notification, None)

    async def _stored_before(self, locked: Locked, wanted: Sequence[Notification]) -> frozenset[Notification]:
        """What of the wanted was stored by a transaction whose commit was not answered.

        It has ended, for its orders are locked.
        """
        if not self._unanswered:
            return frozenset()
        doubtful = {each: self._unanswered[each] for each in wanted if each in self._unanswered}
        ended = set(doubtful.values())
        committed = {each for each in ended if await locked.querier.is_committed(transaction_id=each)}
        return frozenset(each for each, transaction in doubtful.items() if transaction in committed)


async def store(locked: Locked, news: Sequence[Notification]) -> None:
    """Stores notifications, which are news of the locked orders."""
    if news:
        stored = notifications.RecordNotificationsParams(
            order_ids=[notification.order_id for notification in news],
            sequences=[notification.sequence for notification in news],
            statuses=[notification.status for notification in news],
            moments=[notification.moment for notification in news],
            user_ids=[notification.user_id for notification in news],
        )
        await locked.querier.record_notifications(stored)
    locked.new = news


def news_of(locked: Locked, wanted: Sequence[Notification]) -> Sequence[Notification]:
    """What is news in the end, in the order in which it is wanted, each once."""
    if not locked.stored_before:
        return locked.new
    news = locked.stored_before.union(locked.new)
    return list(dict.fromkeys(notification for notification in wanted if notification in news))


async def park(connection: Connection, arrived: Sequence[Arrived]) -> Sequence[Arrived]:
    """Parks those that are not parked yet, and gives them."""
    if not arrived:
        return ()
    events = [each.event for each in arrived]
    letters = dead_letters.ParkEventsParams(
        event_ids=[event.id for event in events],
        order_ids=[event.order_id or NO_ORDER for event in events],
        partitions=[event.partition for event in events],
        positions=[event.offset for event in events],
        keys=[event.key for event in events],
        bodies=[event.value for event in events],
        headers=[to_json(event.headers) for event in events],
        errors=[each.error for each in arrived],
    )
    new = set(await dead_letters.AsyncQuerier(connection).park_events(letters))
    return [each for each in arrived if each.event.id in new]


def to_letter(row: models.DeadLetter) -> Letter:
    headers = from_json(row.headers)
    event = Event(row.event_id, row.order_id, row.partition, row.position, row.key, row.value, headers)
    return Letter(row.id, event, row.error, row.parked_at)


def to_json(headers: Sequence[tuple[str, bytes]]) -> str:
    """Headers as JSON that PostgreSQL takes, whatever their bytes are: what is not plain text is in percent signs."""
    return json.dumps([[quote(name), quote(value)] for name, value in headers])


def from_json(text: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((unquote(name), unquote_to_bytes(value)) for name, value in json.loads(text))
