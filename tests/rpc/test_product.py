"""ProductService over gRPC."""

import pytest
from marketplace.product.v1 import product_pb2 as pb
from marketplace.product.v1.product_pb2_grpc import ProductServiceStub

from tests.clock import FakeClock
from tests.rpc.expect import broken_rules_of, reason_of

TOKEN = (("authorization", "Bearer testtoken"),)


@pytest.mark.parametrize(
    ("sku", "name", "price"),
    [
        (1076963, "Теория нравственных чувств | Смит Адам", 3379),
        (139275865, "Платье oodji Collection", 634),
        (2958025, "Roxy Music. Stranded. Remastered Edition", 1028),
        (773297411, "Кроссовки Nike JORDAN", 2202),
    ],
)
async def test_a_product_has_its_name_and_price(
    product_stub: ProductServiceStub, sku: int, name: str, price: int
) -> None:
    product = await product_stub.GetProduct(pb.GetProductRequest(sku=sku), metadata=TOKEN)

    assert product == pb.GetProductResponse(sku=sku, name=name, price=price)


@pytest.mark.parametrize("sku", [404, 1076963000])
async def test_an_unknown_sku_is_not_found(product_stub: ProductServiceStub, sku: int) -> None:
    call = product_stub.GetProduct(pb.GetProductRequest(sku=sku), metadata=TOKEN)
    assert await reason_of(call) == ("NOT_FOUND", "PRODUCT_NOT_FOUND")


async def test_the_skus_come_page_by_page(product_stub: ProductServiceStub) -> None:
    everything = await product_stub.ListSkus(pb.ListSkusRequest(), metadata=TOKEN)
    skus = list(everything.skus)
    page = await product_stub.ListSkus(pb.ListSkusRequest(start_after_sku=skus[2], count=3), metadata=TOKEN)

    assert len(skus) == 17
    assert skus == sorted(skus)
    assert list(page.skus) == skus[3:6]


@pytest.mark.parametrize(
    "authorization",
    [None, "", "testtoken", "Bearer", "Bearer ", "Bearer wrong", "Basic testtoken", "Bearer testtoken2"],
)
async def test_every_call_needs_the_token(product_stub: ProductServiceStub, authorization: str | None) -> None:
    metadata = () if authorization is None else (("authorization", authorization),)
    for call in (
        product_stub.GetProduct(pb.GetProductRequest(sku=1076963), metadata=metadata),
        product_stub.ListSkus(pb.ListSkusRequest(), metadata=metadata),
    ):
        assert await reason_of(call) == ("UNAUTHENTICATED", "TOKEN_INVALID")


async def test_the_token_is_asked_for_before_the_rules(product_stub: ProductServiceStub) -> None:
    assert (await reason_of(product_stub.GetProduct(pb.GetProductRequest())))[0] == "UNAUTHENTICATED"


async def test_the_word_bearer_may_be_in_small_letters(product_stub: ProductServiceStub) -> None:
    await product_stub.ListSkus(pb.ListSkusRequest(), metadata=(("authorization", "bearer testtoken"),))


async def test_calls_over_the_rate_limit_are_refused_until_the_next_second(
    product_stub: ProductServiceStub, clock: FakeClock
) -> None:
    for _ in range(300):
        await product_stub.ListSkus(pb.ListSkusRequest(), metadata=TOKEN)

    for call in (
        product_stub.ListSkus(pb.ListSkusRequest(), metadata=TOKEN),
        product_stub.GetProduct(pb.GetProductRequest(sku=1076963), metadata=TOKEN),
    ):
        assert await reason_of(call) == ("RESOURCE_EXHAUSTED", "RATE_LIMIT")
    clock.move(seconds=1)
    await product_stub.ListSkus(pb.ListSkusRequest(), metadata=TOKEN)


async def test_broken_rules_are_named(product_stub: ProductServiceStub) -> None:
    sku = product_stub.GetProduct(pb.GetProductRequest(), metadata=TOKEN)
    assert await broken_rules_of(sku) == {("sku", "uint32.gt")}
    for count in (0, 1001):
        page = product_stub.ListSkus(pb.ListSkusRequest(count=count), metadata=TOKEN)
        assert await broken_rules_of(page) == {("count", "uint32.gte_lte")}
