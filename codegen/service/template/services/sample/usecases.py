"""What the service decides: which entries there are, and how many come at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.chassis.errors import NotFoundError

PAGE = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """Units of a sku."""

    sku: int
    count: int


class EntryNotFoundError(NotFoundError):
    reason = "ENTRY_NOT_FOUND"

    def __init__(self, user_id: int, sku: int) -> None:
        super().__init__(f"user {user_id} has no entry for sku {sku}", user_id=user_id, sku=sku)


class Storage(Protocol):
    """The entries. Every method is one transaction: all of it happens or nothing."""

    async def put(self, user_id: int, entry: Entry) -> None:
        """Stores the entry, in the place of the one that the user has for its sku."""
        ...

    async def entry(self, user_id: int, sku: int) -> Entry | None:
        """The entry, or None if there is none."""
        ...

    async def entries(self, user_id: int, start_after_sku: int, limit: int) -> Sequence[Entry]:
        """At most `limit` entries of the user with a sku above `start_after_sku`, in sku order."""
        ...


class Entries:
    """The entries of users."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def put(self, user_id: int, entry: Entry) -> None:
        """Stores an entry, in the place of the one that the user had for its sku."""
        await self._storage.put(user_id, entry)

    async def entry(self, user_id: int, sku: int) -> Entry:
        """The entry. Raises EntryNotFoundError."""
        entry = await self._storage.entry(user_id, sku)
        if entry is None:
            raise EntryNotFoundError(user_id, sku)
        return entry

    async def page(self, user_id: int, start_after_sku: int) -> Sequence[Entry]:
        """The next entries of a user above a sku, in sku order: PAGE of them, or all that are left."""
        return await self._storage.entries(user_id, start_after_sku, PAGE)
