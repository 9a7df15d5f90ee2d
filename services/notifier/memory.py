"""Notifications in the memory of the process.

No method awaits anything, so nothing runs between its first line and its last:
that is what makes each of them a transaction.
"""

from collections.abc import Sequence

from services.notifier.usecases import Notification


class MemoryStorage:
    """Notifications. They are gone when the process ends."""

    def __init__(self) -> None:
        self._notifications: dict[int, list[Notification]] = {}

    async def record(self, notification: Notification) -> bool:
        recorded = self._notifications.setdefault(notification.order_id, [])
        if recorded and recorded[-1].sequence >= notification.sequence:
            return False
        recorded.append(notification)
        return True

    async def notifications(self, order_id: int) -> Sequence[Notification]:
        return tuple(self._notifications.get(order_id, ()))
