"""Entries in PostgreSQL. Each method is one statement, and so one transaction."""

from collections.abc import Sequence

from sample_db import entries

from services.chassis.postgres import Database
from services.sample.usecases import Entry


class PostgresStorage:
    """Entries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, user_id: int, entry: Entry) -> None:
        await self._database.write(
            lambda connection: entries.AsyncQuerier(connection).put_entry(
                user_id=user_id, sku=entry.sku, count=entry.count
            ),
            repeatable=True,
        )

    async def entry(self, user_id: int, sku: int) -> Entry | None:
        row = await self._database.read(
            lambda connection: entries.AsyncReader(connection).entry(user_id=user_id, sku=sku)
        )
        return None if row is None else Entry(row.sku, row.count)

    async def entries(self, user_id: int, start_after_sku: int, limit: int) -> Sequence[Entry]:
        rows = await self._database.read(
            lambda connection: entries.AsyncReader(connection).entries(
                user_id=user_id, start_after_sku=start_after_sku, batch=limit
            )
        )
        return [Entry(row.sku, row.count) for row in rows]
