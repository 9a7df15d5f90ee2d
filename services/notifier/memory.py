"""Notifications in the memory of the process.

No method awaits anything, so nothing runs between its first line and its last:
that is what makes each of them a transaction.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice

from services.chassis.clock import utc_now
from services.notifier.usecases import Arrived, Delivered, Letter, Notification, Recorded, orders_of, sort_out


class MemoryStorage:
    """Notifications and letters. They are gone when the process ends."""

    def __init__(self) -> None:
        self._notifications: dict[int, list[Notification]] = {}
        self._letters: dict[int, Letter] = {}
        self._letter_ids = count(1)

    async def record(self, batch: Sequence[Arrived]) -> Recorded:
        last = {order_id: self._last(order_id) for order_id in orders_of(batch)}
        waiting = {letter.event.order_id for letter in self._letters.values()}
        found = sort_out(batch, last, waiting)
        for notification in found.news:
            self._store(notification)
        known = {letter.event.id for letter in self._letters.values()}
        parked = [arrived for arrived in found.parked if arrived.event.id not in known]
        for arrived in parked:
            letter = Letter(next(self._letter_ids), arrived.event, arrived.error, utc_now())
            self._letters[letter.id] = letter
        return Recorded(found.news, parked)

    async def notifications(self, order_id: int, owner: int | None = None) -> Sequence[Notification]:
        recorded = self._notifications.get(order_id, ())
        return tuple(notification for notification in recorded if owner in {None, notification.user_id})

    async def letters(self, after: int, limit: int) -> Sequence[Letter]:
        return list(islice((letter for letter in self._letters.values() if letter.id > after), limit))

    async def deliver(self, letter: Letter, notification: Notification) -> Delivered:
        if letter.id not in self._letters:
            return Delivered.GONE
        is_news = notification.sequence > self._last(notification.order_id)
        if is_news:
            self._store(notification)
        del self._letters[letter.id]
        return Delivered.NEWS if is_news else Delivered.KNOWN

    async def keep(self, letter: Letter, error: str) -> None:
        if letter.id in self._letters:
            self._letters[letter.id] = replace(letter, error=error)

    def _last(self, order_id: int) -> int:
        recorded = self._notifications.get(order_id)
        return recorded[-1].sequence if recorded else 0

    def _store(self, notification: Notification) -> None:
        self._notifications.setdefault(notification.order_id, []).append(notification)
