"""Carts in the memory of the process.

No method awaits anything, so nothing runs between its first line and its last:
that is what makes each of them a transaction.
"""

import time
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count, islice, takewhile
from uuid import UUID

from services.cart.usecases import Added, Cart, Item


@dataclass(slots=True)
class _Cart:
    version: int
    counts: dict[int, int] = field(default_factory=dict)
    ordered_version: int = 0
    """The last version that became an order."""


@dataclass(frozen=True, slots=True)
class _Checkout:
    order_id: int
    finished_at: datetime


class MemoryStorage:
    """Carts. They are gone when the process ends."""

    def __init__(self) -> None:
        # LOMS may outlive this process and remembers the versions that it has seen: never begin at one of them.
        self._versions = count(time.time_ns())
        self._carts: dict[int, _Cart] = {}
        self._lines = 0
        self._checkouts: dict[tuple[int, UUID], _Checkout] = {}
        """Oldest first."""

    def objects(self) -> dict[tuple[str, ...], float]:
        """How many carts and lines it holds."""
        return {("cart",): len(self._carts), ("line",): self._lines}

    async def add(self, user_id: int, item: Item, line_limit: int, cart_limit: int) -> Added:
        cart = self._carts.get(user_id)
        counts = cart.counts if cart else {}
        total = counts.get(item.sku, 0) + item.count
        if total > line_limit:
            return Added.LINE_FULL
        if item.sku not in counts and len(counts) >= cart_limit:
            return Added.CART_FULL
        if cart is None:
            cart = self._carts[user_id] = _Cart(next(self._versions))
        self._lines += item.sku not in cart.counts
        cart.counts[item.sku] = total
        cart.version = next(self._versions)
        return Added.DONE

    async def delete(self, user_id: int, sku: int) -> None:
        cart = self._carts.get(user_id)
        if cart and cart.counts.pop(sku, None) is not None:
            self._lines -= 1
            cart.version = next(self._versions)

    async def clear(self, user_id: int) -> None:
        cart = self._carts.get(user_id)
        if cart and cart.counts:
            self._lines -= len(cart.counts)
            cart.counts.clear()
            cart.version = next(self._versions)

    async def cart(self, user_id: int) -> Cart:
        cart = self._carts.get(user_id)
        if cart is None:
            return Cart(user_id, 0, ())
        return Cart(user_id, cart.version, tuple(Item(sku, cart.counts[sku]) for sku in sorted(cart.counts)))

    async def ordered(self, user_id: int, request_id: UUID) -> int | None:
        checkout = self._checkouts.get((user_id, request_id))
        return checkout.order_id if checkout else None

    async def finish_checkout(self, cart: Cart, order_id: int, request_id: UUID | None, now: datetime) -> None:
        if request_id is not None:
            self._checkouts.setdefault((cart.user_id, request_id), _Checkout(order_id, now))
        stored = self._carts[cart.user_id]
        if stored.ordered_version >= cart.version:
            return
        self._lines -= len(stored.counts)
        for item in cart.items:
            left = stored.counts.pop(item.sku, 0) - item.count
            if left > 0:
                stored.counts[item.sku] = left
        self._lines += len(stored.counts)
        stored.ordered_version = cart.version
        stored.version = next(self._versions)

    async def forget_requests(self, used_before: datetime, limit: int) -> int:
        old = takewhile(lambda checkout: checkout[1].finished_at <= used_before, self._checkouts.items())
        forgotten = [key for key, _ in islice(old, limit)]
        for key in forgotten:
            del self._checkouts[key]
        return len(forgotten)

    async def refuse_checkout(self, cart: Cart) -> None:
        stored = self._carts[cart.user_id]
        if stored.version == cart.version:
            stored.version = next(self._versions)
