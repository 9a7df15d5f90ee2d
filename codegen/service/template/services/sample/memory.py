"""Entries in the memory of the process.

No method awaits anything, so nothing runs between its first line and its last:
that is what makes each of them a transaction.
"""

from collections.abc import Sequence

from services.sample.usecases import Entry


class MemoryStorage:
    """Entries. They are gone when the process ends."""

    def __init__(self) -> None:
        self._entries: dict[int, dict[int, Entry]] = {}

    async def put(self, user_id: int, entry: Entry) -> None:
        self._entries.setdefault(user_id, {})[entry.sku] = entry

    async def entry(self, user_id: int, sku: int) -> Entry | None:
        return self._entries.get(user_id, {}).get(sku)

    async def entries(self, user_id: int, start_after_sku: int, limit: int) -> Sequence[Entry]:
        stored = self._entries.get(user_id, {})
        return [stored[sku] for sku in sorted(stored) if sku > start_after_sku][:limit]
