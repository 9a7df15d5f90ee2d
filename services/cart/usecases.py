"""What the cart decides: what may go into it, what it costs, how it becomes an order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import NamedTuple, Protocol
from uuid import UUID, uuid5

from services.chassis.clock import Clock
from services.chassis.errors import FailedPreconditionError, NotFoundError

MAX_COUNT = 65535
MAX_LINES = 100
FORGET_BATCH = 1000
REQUEST_ID_LIFE = timedelta(hours=24)

CHECKOUT_NAMESPACE = UUID("8c6c9f0e-6d4b-4f0b-9a55-3f0c1f7f5c11")


@dataclass(frozen=True, slots=True)
class Item:
    """Units of one sku."""

    sku: int
    count: int


@dataclass(frozen=True, slots=True)
class Cart:
    """A cart as it was at a moment. `items` has each sku once, in sku order."""

    user_id: int
    version: int
    """Another one after every change, and never one that any cart of the user had before."""
    items: tuple[Item, ...]


class Product(NamedTuple):
    """What the catalogue says of a sku."""

    name: str
    price: int


class Line(NamedTuple):
    """A line of a cart with what the catalogue says of it."""

    item: Item
    product: Product


@dataclass(frozen=True, slots=True)
class PricedCart:
    """A cart with its prices."""

    lines: tuple[Line, ...]
    total_price: int


class Added(Enum):
    """What became of an attempt to add to a cart."""

    DONE = auto()
    LINE_FULL = auto()
    CART_FULL = auto()


class CartEmptyError(NotFoundError):
    reason = "CART_EMPTY"

    def __init__(self, user_id: int) -> None:
        super().__init__(f"the cart of user {user_id} is empty", user_id=user_id)


class ProductUnknownError(FailedPreconditionError):
    reason = "PRODUCT_UNKNOWN"

    def __init__(self, sku: int) -> None:
        super().__init__(f"the catalogue does not have sku {sku}", sku=sku)


class OutOfStockError(FailedPreconditionError):
    reason = "OUT_OF_STOCK"


class LineLimitError(FailedPreconditionError):
    reason = "LINE_LIMIT"

    def __init__(self, sku: int) -> None:
        super().__init__(f"the line of sku {sku} would hold more than {MAX_COUNT} units", sku=sku)


class CartLimitError(FailedPreconditionError):
    reason = "CART_LIMIT"

    def __init__(self) -> None:
        super().__init__(f"the cart would have more than {MAX_LINES} lines")


class Products(Protocol):
    """The catalogue."""

    async def product(self, sku: int) -> Product:
        """Raises ProductUnknownError."""
        ...

    async def products(self, skus: Sequence[int]) -> list[Product]:
        """The products of these skus, in their order. Raises ProductUnknownError."""
        ...


class Loms(Protocol):
    """Orders and stock."""

    async def available(self, sku: int) -> int:
        """How many units can be ordered now: 0 for a sku without stock."""
        ...

    async def create_order(self, cart: Cart, request_id: UUID) -> int:
        """Makes an order of the cart and gives its id: the same one for the same request_id.
        Raises OutOfStockError.
        """
        ...


class Storage(Protocol):
    """Carts. Every method is one transaction: all of it happens or nothing."""

    async def add(self, user_id: int, item: Item, line_limit: int, cart_limit: int) -> Added:
        """Adds to the line of the sku, unless it would hold more than `line_limit` units or be
        one line more than `cart_limit`.
        """
        ...

    async def delete(self, user_id: int, sku: int) -> None:
        """Deletes the line of the sku if there is one."""
        ...

    async def clear(self, user_id: int) -> None:
        """Deletes every line."""
        ...

    async def cart(self, user_id: int) -> Cart:
        """The cart, without items if it is empty or absent."""
        ...

    async def ordered(self, user_id: int, request_id: UUID) -> int | None:
        """The order that a checkout with this request_id has led to, or None."""
        ...

    async def finish_checkout(self, cart: Cart, order_id: int, request_id: UUID | None, now: datetime) -> None:
        """Takes out of the cart what was ordered and remembers the order under the request_id.

        What was added since `cart` was read stays. Nothing is taken out twice for one version.
        """
        ...

    async def forget_requests(self, used_before: datetime, limit: int) -> int:
        """Forgets at most `limit` of the request_ids that were first used until then, and gives how many it were."""
        ...

    async def refuse_checkout(self, cart: Cart) -> None:
        """Gives the cart another version if it still has that of `cart`, and changes nothing else."""
        ...


class Carts:
    """Fills carts, prices them and makes orders of them."""

    def __init__(self, storage: Storage, products: Products, loms: Loms, clock: Clock) -> None:
        self._storage = storage
        self._products = products
        self._loms = loms
        self._clock = clock

    async def add(self, user_id: int, item: Item) -> None:
        """Adds to the cart. Raises ProductUnknownError, OutOfStockError, LineLimitError, CartLimitError."""
        await self._products.product(item.sku)
        available = await self._loms.available(item.sku)
        added = await self._storage.add(user_id, item, min(available, MAX_COUNT), MAX_LINES)
        if added is Added.CART_FULL:
            raise CartLimitError
        if added is Added.LINE_FULL and available > MAX_COUNT:
            raise LineLimitError(item.sku)
        if added is Added.LINE_FULL:
            raise OutOfStockError(f"there are {available} units of sku {item.sku}", sku=item.sku)

    async def delete(self, user_id: int, sku: int) -> None:
        await self._storage.delete(user_id, sku)

    async def clear(self, user_id: int) -> None:
        await self._storage.clear(user_id)

    async def priced(self, user_id: int) -> PricedCart:
        """The cart with its prices. Raises CartEmptyError, ProductUnknownError."""
        cart = await self._filled(user_id)
        products = await self._products.products([item.sku for item in cart.items])
        lines = tuple(Line(item, product) for item, product in zip(cart.items, products, strict=True))
        return PricedCart(lines, sum(line.product.price * line.item.count for line in lines))

    async def checkout(self, user_id: int, request_id: UUID | None = None) -> int:
        """Makes an order of the cart, empties it and gives the order's id.
        Raises CartEmptyError, OutOfStockError.

        The order is asked for under a key that follows from the cart's version, so that a
        retry after a crash gets the same one. A refused cart gets another version: LOMS
        would answer the old key with the refusal for ever.
        """
        if request_id is not None:
            ordered = await self._storage.ordered(user_id, request_id)
            if ordered is not None:
                return ordered
        cart = await self._filled(user_id)
        try:
            order_id = await self._loms.create_order(cart, checkout_key(cart))
        except OutOfStockError:
            await self._storage.refuse_checkout(cart)
            raise
        await self._storage.finish_checkout(cart, order_id, request_id, self._clock())
        return order_id

    async def forget_requests(self) -> None:
        """Forgets every request_id whose life is over: it may lead to another order then."""
        forgotten = FORGET_BATCH
        while forgotten == FORGET_BATCH:
            forgotten = await self._storage.forget_requests(self._clock() - REQUEST_ID_LIFE, FORGET_BATCH)

    async def _filled(self, user_id: int) -> Cart:
        cart = await self._storage.cart(user_id)
        if not cart.items:
            raise CartEmptyError(user_id)
        return cart


def checkout_key(cart: Cart) -> UUID:
    """The request_id under which the order of this version of the cart is created."""
    return uuid5(CHECKOUT_NAMESPACE, f"{cart.user_id}/{cart.version}")
