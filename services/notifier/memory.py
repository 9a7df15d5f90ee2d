"""Notifications in the memory of the process.

No method awaits anything, so nothing runs between its first line and its last:
that is what makes each of them a transaction.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice

from services.chassis.clock import utc_now
from services.notifier.usecases import Arrived, Delivered, Letter, Notification, Recorded, sort_out


class MemoryStorage:
    """Notifications and letters. They are gone when the process ends."""

    def __init__(self) -> None:
        self._notifications: dict[int, list[Notification]] = {}
        self._letters: dict[str, Letter] = {}
        self._letter_ids = count(1)

    async def record(self, batch: Sequence[Arrived]) -> Recorded:
        last = {order_id: recorded[-1].sequence for order_id, recorded in self._notifications.items()}
        waiting = {letter.event.order_id for letter in self._letters.values() if letter.event.order_id is not None}
        found = sort_out(batch, last, waiting)
        for notification in found.news:
            self._record(notification)
        parked = [arrived for arrived in found.parked if arrived.event.id not in self._letters]
        for arrived in parked:
            letter = Letter(next(self._letter_ids), arrived.event, arrived.error, utc_now())
            self._letters[arrived.event.id] = letter
        return Recorded(found.news, parked)

    async def notifications(self, order_id: int) -> Sequence[Notification]:
        return tuple(self._notifications.get(order_id, ()))

    async def letters(self, after: int, limit: int) -> Sequence[Letter]:
        return list(islice((letter for letter in self._letters.values() if letter.id > after), limit))

    async def deliver(self, letter: Letter, notification: Notification) -> Delivered:
        if self._stored(letter) is None:
            return Delivered.GONE
        del self._letters[letter.event.id]
        return Delivered.NEWS if self._record(notification) else Delivered.KNOWN

    async def keep(self, letter: Letter, error: str) -> None:
        if self._stored(letter) is not None:
            self._letters[letter.event.id] = replace(letter, error=error)
