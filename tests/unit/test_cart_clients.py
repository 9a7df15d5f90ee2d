"""The catalogue as the cart sees it: what is remembered, for whom, and how many it is asked for at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from marketplace.product.v1 import product_pb2

from services.cart.clients import PRODUCTS_AT_ONCE, CachedProducts, ProductClient, cached_products
from services.cart.usecases import Product, ProductUnknownError
from services.chassis.cache import LocalStore
from services.chassis.call import Call, current_call
from services.chassis.errors import AppError, NotFoundError, UnauthenticatedError, UnavailableError

OWN_TOKEN = "own"


class Stub:
    """A catalogue that has every sku below 1000; the price is the sku. It checks tokens, and can be made to fail."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.running = self.most = 0
        self.failing: dict[int, AppError] = {}

    async def GetProduct(self, request: product_pb2.GetProductRequest) -> product_pb2.GetProductResponse:
        call = current_call.get()
        self.asked.append(request.sku)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if request.sku not in self.failing:
                await asyncio.sleep(30 if self.failing else 0)
        finally:
            self.running -= 1
        if request.sku in self.failing:
            raise self.failing[request.sku]
        if call is not None and call.token == "wrong":
            raise UnauthenticatedError("no")
        if request.sku >= 1000:
            raise NotFoundError("no", reason="PRODUCT_NOT_FOUND")
        return product_pb2.GetProductResponse(sku=request.sku, name=f"product {request.sku}", price=request.sku)


@pytest.fixture
def stub() -> Stub:
    return Stub()


@asynccontextmanager
async def products_of(stub: Any) -> AsyncIterator[CachedProducts]:
    async with cached_products(ProductClient(stub), LocalStore(), OWN_TOKEN) as products:
        yield products


def served_with(token: str | None) -> None:
    current_call.set(Call(token=token, request_id="1", deadline=0, deadline_is_ours=False))


def product(sku: int) -> Product:
    return Product(f"product {sku}", sku)


async def test_a_list_asks_only_for_what_it_does_not_remember(stub: Stub) -> None:
    async with products_of(stub) as products:
        assert await products.product(2) == product(2)
        assert await products.products([3, 2, 1, 3]) == [product(sku) for sku in (3, 2, 1, 3)]
        assert await products.products([]) == []

    assert sorted(stub.asked) == [1, 2, 3]


async def test_a_list_asks_for_five_at_a_time(stub: Stub) -> None:
    async with products_of(stub) as products:
        assert await products.products(range(1, 101)) == [product(sku) for sku in range(1, 101)]

    assert stub.most == PRODUCTS_AT_ONCE == 5


async def test_the_first_error_of_a_list_is_the_one_raised_and_ends_the_other_questions(stub: Stub) -> None:
    stub.failing = {5: UnavailableError("product cannot be reached")}
    async with products_of(stub) as products:
        with pytest.raises(UnavailableError):
            await products.products(range(1, 10))
        assert stub.asked == [1, 2, 3, 4, 5]
        await asyncio.sleep(0)
        assert stub.running == 0


async def test_an_unknown_product_is_remembered_as_such(stub: Stub) -> None:
    async with products_of(stub) as products:
        for _ in range(3):
            with pytest.raises(ProductUnknownError):
                await products.product(1000)
            with pytest.raises(ProductUnknownError):
                await products.products([1, 1000])

    assert sorted(stub.asked) == [1000]


@pytest.mark.parametrize("token", [None, OWN_TOKEN])
async def test_who_brings_no_token_or_that_of_the_cart_gets_what_is_remembered(stub: Stub, token: str | None) -> None:
    async with products_of(stub) as products:
        await products.product(1)
        served_with(token)
        await products.product(1)

    assert stub.asked == [1]


async def test_who_brings_another_token_is_answered_by_the_catalogue_alone(stub: Stub) -> None:
    async with products_of(stub) as products:
        await products.product(1)
        served_with("wrong")
        with pytest.raises(UnauthenticatedError):
            await products.product(1)
        served_with("another")
        assert await products.products([1, 2]) == [product(1), product(2)]
        served_with(None)
        await products.product(2)

    assert stub.asked == [1, 1, 1, 2, 2]
