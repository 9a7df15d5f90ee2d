"""Notifications in PostgreSQL. Each method is one statement, and so one transaction."""

from collections.abc import Sequence

from notifier_db import notifications

from services.chassis.postgres import Database
from services.notifier.usecases import Notification


class PostgresStorage:
    """Notifications."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, notification: Notification) -> bool:
        is_new = await self._database.write(
            lambda connection: notifications.AsyncQuerier(connection).record_notification(
                order_id=notification.order_id,
                sequence=notification.sequence,
                status=notification.status,
                moment=notification.moment,
            ),
            repeatable=True,
        )
        return bool(is_new)

    async def notifications(self, order_id: int) -> Sequence[Notification]:
        rows = await self._database.read(
            lambda connection: notifications.AsyncReader(connection).notifications_of_order(order_id=order_id)
        )
        return [Notification(row.order_id, row.sequence, row.status, row.moment) for row in rows]
