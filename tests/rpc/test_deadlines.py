"""One deadline for all services that a call goes through: each has what the one before has left."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from marketplace.cart.v1 import cart_pb2 as pb
from marketplace.cart.v1.cart_pb2_grpc import CartServiceStub

from tests.rpc.products import Products, serving
from tests.waiting import until

CALLS = 100
ROUNDED = 1.01
"""On its way a timeout has few digits, and is rounded up."""
NOT_CACHED = [("authorization", "Bearer own")]


@pytest.fixture
async def products() -> Products:
    return Products()


@pytest.fixture
async def product_port(products: Products) -> AsyncIterator[int]:
    """The catalogue of the cart."""
    async with serving(products) as (port, _):
        yield port


def add(sku: int) -> pb.ItemAddRequest:
    return pb.ItemAddRequest(user_id=1, sku=sku, count=1)


async def test_the_last_service_ends_with_the_first_caller(cart_stub: CartServiceStub, products: Products) -> None:
    products.hangs = True
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await cart_stub.ItemAdd(add(1625903), timeout=0.3)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    async def has_ended() -> bool:
        return products.cancelled == 1

    await until(has_ended, seconds=1)
    [remaining] = products.remaining
    assert remaining is not None
    assert 0 < remaining <= 0.3 * ROUNDED


async def test_no_call_is_made_without_a_deadline(cart_stub: CartServiceStub, products: Products) -> None:
    for timeout in (None, 3600, 10):
        calls = (cart_stub.ItemAdd(add(2618151), timeout=timeout, metadata=NOT_CACHED) for _ in range(CALLS))
        await asyncio.gather(*calls)

    known = [remaining for remaining in products.remaining if remaining is not None]
    assert len(known) == len(products.remaining) == 3 * CALLS
    assert max(known[:CALLS]) <= 15 * ROUNDED
    assert 15 * ROUNDED < max(known[CALLS : 2 * CALLS]) <= 30 * ROUNDED
    assert max(known[2 * CALLS :]) <= 10 * ROUNDED
