"""What the cart decides, whatever the storage and the services behind it are."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest

from services.cart.memory import MemoryStorage
from services.cart.usecases import (
    MAX_COUNT,
    MAX_LINES,
    Cart,
    CartEmptyError,
    CartLimitError,
    Carts,
    Item,
    Line,
    LineLimitError,
    OutOfStockError,
    PricedCart,
    Product,
    ProductUnknownError,
)
from services.chassis.errors import UnavailableError
from tests.clock import FakeClock

USER = 7


@dataclass
class FakeProducts:
    """A catalogue that has every sku below 1000; the price is the sku, if not all have the same."""

    price: int | None = None
    lists: list[list[int]] = field(default_factory=list)

    async def product(self, sku: int) -> Product:
        if sku >= 1000:
            raise ProductUnknownError(sku)
        return Product(f"product {sku}", self.price or sku)

    async def products(self, skus: Sequence[int]) -> list[Product]:
        self.lists.append(list(skus))
        return [await self.product(sku) for sku in skus]


@dataclass
class FakeLoms:
    """A LOMS that has the same stock of every sku and gives the same order for the same key."""

    stock: int = MAX_COUNT
    refuses: bool = False
    orders: dict[UUID, tuple[int, Cart]] = field(default_factory=dict)
    refused: set[UUID] = field(default_factory=set)

    async def available(self, sku: int) -> int:
        return self.stock

    async def create_order(self, cart: Cart, request_id: UUID) -> int:
        if request_id in self.refused or (self.refuses and request_id not in self.orders):
            self.refused.add(request_id)
            raise OutOfStockError("not enough")
        order_id, _ = self.orders.setdefault(request_id, (len(self.orders) + 1, cart))
        return order_id


@pytest.fixture
def products() -> FakeProducts:
    return FakeProducts()


@pytest.fixture
def loms() -> FakeLoms:
    return FakeLoms()


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def carts(storage: MemoryStorage, products: FakeProducts, loms: FakeLoms, clock: FakeClock) -> Carts:
    return Carts(storage, products, loms, clock)


async def test_an_unknown_product_is_not_added(carts: Carts) -> None:
    with pytest.raises(ProductUnknownError):
        await carts.add(USER, Item(1000, 1))
    with pytest.raises(CartEmptyError):
        await carts.priced(USER)


async def test_exactly_the_stock_may_be_in_a_line_and_no_more(carts: Carts, loms: FakeLoms) -> None:
    loms.stock = 5
    await carts.add(USER, Item(1, 3))
    await carts.add(USER, Item(1, 2))

    with pytest.raises(OutOfStockError, match="there are 5 units of sku 1"):
        await carts.add(USER, Item(1, 1))


async def test_a_line_holds_65535_units_at_most_however_many_there_are(carts: Carts, loms: FakeLoms) -> None:
    loms.stock = MAX_COUNT + 1
    await carts.add(USER, Item(1, MAX_COUNT))

    with pytest.raises(LineLimitError):
        await carts.add(USER, Item(1, 1))


async def test_a_cart_holds_100_lines_at_most(carts: Carts) -> None:
    for sku in range(1, MAX_LINES + 1):
        await carts.add(USER, Item(sku, 1))

    with pytest.raises(CartLimitError):
        await carts.add(USER, Item(999, 1))
    await carts.add(USER, Item(1, 1))


async def test_the_list_has_names_prices_and_the_total_in_sku_order(carts: Carts) -> None:
    await carts.add(USER, Item(20, 2))
    await carts.add(USER, Item(10, 3))

    assert await carts.priced(USER) == PricedCart(
        (Line(Item(10, 3), Product("product 10", 10)), Line(Item(20, 2), Product("product 20", 20))), 70
    )


async def test_the_total_does_not_overflow(carts: Carts, products: FakeProducts) -> None:
    products.price = 2**32 - 1
    for sku in range(1, MAX_LINES + 1):
        await carts.add(USER, Item(sku, MAX_COUNT))

    assert (await carts.priced(USER)).total_price == MAX_LINES * MAX_COUNT * (2**32 - 1)


async def test_a_list_asks_for_its_products_all_at_once(carts: Carts, products: FakeProducts) -> None:
    for sku in (3, 1, 2):
        await carts.add(USER, Item(sku, 1))
    await carts.priced(USER)

    assert products.lists == [[1, 2, 3]]


async def test_a_product_that_has_left_the_catalogue_ends_a_list(carts: Carts, storage: MemoryStorage) -> None:
    await storage.add(USER, Item(1000, 1), MAX_COUNT, MAX_LINES)

    with pytest.raises(ProductUnknownError):
        await carts.priced(USER)


async def test_a_deleted_line_and_a_cleared_cart_are_gone(carts: Carts) -> None:
    await carts.add(USER, Item(1, 1))
    await carts.add(USER, Item(2, 1))
    await carts.delete(USER, 1)
    assert [line.item.sku for line in (await carts.priced(USER)).lines] == [2]

    await carts.clear(USER)
    with pytest.raises(CartEmptyError):
        await carts.priced(USER)


async def test_a_checkout_orders_the_cart_and_empties_it(carts: Carts, loms: FakeLoms) -> None:
    await carts.add(USER, Item(1, 2))

    assert await carts.checkout(USER) == 1
    assert [cart.items for _, cart in loms.orders.values()] == [(Item(1, 2),)]
    with pytest.raises(CartEmptyError):
        await carts.checkout(USER)


async def test_a_retry_after_a_crash_before_the_cart_was_emptied_gets_the_same_order(
    carts: Carts, storage: MemoryStorage, loms: FakeLoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    await carts.add(USER, Item(1, 2))

    async def crash(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(storage, "finish_checkout", crash)
        with pytest.raises(ConnectionError):
            await carts.checkout(USER)

    assert await carts.checkout(USER) == 1
    assert len(loms.orders) == 1


async def test_checkouts_at_once_make_one_order(carts: Carts, loms: FakeLoms) -> None:
    await carts.add(USER, Item(1, 2))

    assert await asyncio.gather(*(carts.checkout(USER, uuid4()) for _ in range(1))) == [1]
    await carts.add(USER, Item(1, 2))
    results = await asyncio.gather(*(carts.checkout(USER) for _ in range(10)), return_exceptions=True)
    assert {result for result in results if isinstance(result, int)} == {2}
    assert len(loms.orders) == 2


async def test_a_cart_that_is_filled_again_makes_another_order(carts: Carts) -> None:
    for expected in (1, 2):
        await carts.add(USER, Item(1, 2))
        assert await carts.checkout(USER) == expected


async def test_a_refused_cart_stays_and_can_be_ordered_when_there_is_stock_again(carts: Carts, loms: FakeLoms) -> None:
    await carts.add(USER, Item(1, 2))
    loms.refuses = True
    for _ in range(2):
        with pytest.raises(OutOfStockError):
            await carts.checkout(USER)
    assert (await carts.priced(USER)).total_price == 2

    loms.refuses = False
    assert await carts.checkout(USER) == 1


async def test_a_request_id_gives_the_first_order_again_though_the_cart_is_another(carts: Carts) -> None:
    request_id = uuid4()
    await carts.add(USER, Item(1, 2))
    assert await carts.checkout(USER, request_id) == 1
    assert await carts.checkout(USER, request_id) == 1

    await carts.add(USER, Item(2, 2))
    assert await carts.checkout(USER, request_id) == 1
    assert await carts.checkout(USER, uuid4()) == 2


async def test_a_request_id_is_forgotten_after_24_hours(carts: Carts, clock: FakeClock) -> None:
    request_id = uuid4()
    await carts.add(USER, Item(1, 2))
    first = await carts.checkout(USER, request_id)
    clock.move(hours=23, minutes=59)
    await carts.forget_requests()
    assert await carts.checkout(USER, request_id) == first
    clock.move(minutes=1)
    await carts.forget_requests()

    with pytest.raises(CartEmptyError):
        await carts.checkout(USER, request_id)


async def test_request_ids_of_different_users_do_not_meet(carts: Carts) -> None:
    request_id = uuid4()
    for user_id in (1, 2):
        await carts.add(user_id, Item(1, 1))

    assert await carts.checkout(1, request_id) != await carts.checkout(2, request_id)


async def test_a_failure_that_is_no_refusal_leaves_the_key(
    carts: Carts, storage: MemoryStorage, loms: FakeLoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    await carts.add(USER, Item(1, 2))
    before = await storage.cart(USER)

    async def down(*_: object) -> int:
        raise UnavailableError("loms cannot be reached")

    monkeypatch.setattr(loms, "create_order", down)
    with pytest.raises(UnavailableError):
        await carts.checkout(USER)

    assert await storage.cart(USER) == before
