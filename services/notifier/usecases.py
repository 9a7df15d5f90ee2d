"""What the notifier decides: which events are news."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.chassis.log import Logger


@dataclass(frozen=True, slots=True)
class Notification:
    """What the user is told of one change of an order."""

    order_id: int
    sequence: int
    """1 for the first change of the order, then without a gap."""
    status: str
    moment: datetime


class Storage(Protocol):
    """The notifications. Every method is one transaction: all of it happens or nothing."""

    async def record(self, notification: Notification) -> bool:
        """Stores the notification unless the order has this one or a later one; tells whether it did."""
        ...

    async def notifications(self, order_id: int) -> Sequence[Notification]:
        """Those of an order, in order."""
        ...


class Notifications:
    """Gives each change of an order to its user once."""

    def __init__(self, storage: Storage, log: Logger) -> None:
        self._storage = storage
        self._log = log

    async def notify(self, notification: Notification) -> None:
        """Records the notification and logs it; does nothing when it was there already."""
        if await self._storage.record(notification):
            self._log.info("order status changed", order_id=notification.order_id, status=notification.status)

    async def of_order(self, order_id: int) -> Sequence[Notification]:
        return await self._storage.notifications(order_id)
