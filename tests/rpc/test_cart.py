"""CartService over gRPC, with the real services and with typed fakes behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import grpc
import pytest
from marketplace.cart.v1 import cart_pb2 as pb
from marketplace.cart.v1.cart_pb2_grpc import CartServiceStub
from marketplace.loms.v1 import loms_pb2, loms_pb2_grpc
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub
from marketplace.product.v1 import product_pb2, product_pb2_grpc

from services.cart.__main__ import cart
from services.chassis.call import current_call
from services.chassis.clock import utc_now
from services.chassis.errors import ResourceExhaustedError
from services.chassis.log import get_logger
from services.chassis.server import Context, servicer, serving
from services.loms.memory import MemoryStorage
from services.loms.servicer import LomsServicer
from services.loms.usecases import Orders, OutOfStockError, Stocks
from services.product.servicer import ProductServicer
from services.product.usecases import Catalogue, Throttle
from tests.marketplace import UNLIMITED
from tests.rpc.expect import broken_rules_of, reason_of
from tests.settings import FREE, AnySettings, CartSettings

USER = 1
SKU, SCARCE_SKU, RESERVED_SKU, UNKNOWN_SKU = 1076963, 1148162, 139819069, 404


async def add(stub: CartServiceStub, count: int = 1, sku: int = SKU) -> None:
    await stub.ItemAdd(pb.ItemAddRequest(user_id=USER, sku=sku, count=count))


async def listed(stub: CartServiceStub) -> pb.ListResponse:
    return await stub.List(pb.ListRequest(user_id=USER))


async def checkout(stub: CartServiceStub, request_id: str | None = None) -> int:
    return (await stub.Checkout(pb.CheckoutRequest(user_id=USER, request_id=request_id))).order_id


async def test_added_units_sum_up_and_are_listed_with_name_price_and_total(cart_stub: CartServiceStub) -> None:
    await add(cart_stub, 2, 2958025)
    await add(cart_stub, 1)
    await add(cart_stub, 1)

    assert await listed(cart_stub) == pb.ListResponse(
        items=[
            pb.CartItem(sku=SKU, name="Теория нравственных чувств | Смит Адам", count=2, price=3379),
            pb.CartItem(sku=2958025, name="Roxy Music. Stranded. Remastered Edition", count=2, price=1028),
        ],
        total_price=8814,
    )


async def test_a_product_that_the_catalogue_does_not_have_is_refused(cart_stub: CartServiceStub) -> None:
    assert await reason_of(add(cart_stub, 1, UNKNOWN_SKU)) == ("FAILED_PRECONDITION", "PRODUCT_UNKNOWN")


async def test_exactly_the_available_count_fits_and_one_more_does_not(cart_stub: CartServiceStub) -> None:
    await add(cart_stub, 265)

    assert await reason_of(add(cart_stub, 1)) == ("FAILED_PRECONDITION", "OUT_OF_STOCK")
    assert await reason_of(add(cart_stub, 1, RESERVED_SKU)) == ("FAILED_PRECONDITION", "OUT_OF_STOCK")


async def test_a_deleted_line_is_gone_and_deleting_is_idempotent(cart_stub: CartServiceStub) -> None:
    await add(cart_stub)
    await add(cart_stub, 1, 2958025)
    for _ in range(2):
        await cart_stub.ItemDelete(pb.ItemDeleteRequest(user_id=USER, sku=SKU))

    assert [item.sku for item in (await listed(cart_stub)).items] == [2958025]


async def test_a_cleared_cart_is_empty_and_clearing_is_idempotent(cart_stub: CartServiceStub) -> None:
    await add(cart_stub)
    for _ in range(2):
        await cart_stub.Clear(pb.ClearRequest(user_id=USER))

    assert await reason_of(listed(cart_stub)) == ("NOT_FOUND", "CART_EMPTY")


async def test_an_empty_cart_can_be_neither_listed_nor_ordered(cart_stub: CartServiceStub) -> None:
    assert await reason_of(listed(cart_stub)) == ("NOT_FOUND", "CART_EMPTY")
    assert await reason_of(checkout(cart_stub)) == ("NOT_FOUND", "CART_EMPTY")


async def test_a_checkout_makes_an_order_of_the_cart_and_empties_it(
    cart_stub: CartServiceStub, loms_stub: LomsServiceStub
) -> None:
    await add(cart_stub, 2)
    order_id = await checkout(cart_stub)

    order = await loms_stub.OrderInfo(loms_pb2.OrderInfoRequest(order_id=order_id))
    assert order == loms_pb2.OrderInfoResponse(
        status="awaiting payment", user_id=USER, items=[loms_pb2.OrderLine(sku=SKU, count=2)]
    )
    assert await reason_of(listed(cart_stub)) == ("NOT_FOUND", "CART_EMPTY")


async def test_a_checkout_that_the_stock_refuses_keeps_the_cart_and_can_be_repeated(
    cart_stub: CartServiceStub, loms_stub: LomsServiceStub
) -> None:
    await add(cart_stub, 2)
    taken = await loms_stub.OrderCreate(
        loms_pb2.OrderCreateRequest(user_id=2, items=[loms_pb2.OrderItem(sku=SKU, count=264)])
    )
    for request_id in (None, str(uuid4())):
        refused = checkout(cart_stub, request_id)
        assert await reason_of(refused) == ("FAILED_PRECONDITION", "OUT_OF_STOCK")
    assert (await listed(cart_stub)).total_price == 6758

    await loms_stub.OrderCancel(loms_pb2.OrderCancelRequest(order_id=taken.order_id))
    assert await checkout(cart_stub) > taken.order_id


async def test_a_request_id_gives_the_same_order_again(cart_stub: CartServiceStub) -> None:
    request_id = str(uuid4())
    await add(cart_stub)

    assert len({await checkout(cart_stub, request_id) for _ in range(3)}) == 1


async def test_checkouts_at_once_make_one_order(cart_stub: CartServiceStub, loms_stub: LomsServiceStub) -> None:
    await add(cart_stub, 2)
    answers = await asyncio.gather(*(checkout(cart_stub) for _ in range(20)), return_exceptions=True)

    assert len({answer for answer in answers if isinstance(answer, int)}) == 1
    assert (await loms_stub.StocksInfo(loms_pb2.StocksInfoRequest(sku=SKU))).count == 263


BAD_IDS = [0, -1, -(2**63)]


@pytest.mark.parametrize("user_id", BAD_IDS)
async def test_the_user_id_must_be_positive(cart_stub: CartServiceStub, user_id: int) -> None:
    for call in (
        cart_stub.ItemAdd(pb.ItemAddRequest(user_id=user_id, sku=1, count=1)),
        cart_stub.ItemDelete(pb.ItemDeleteRequest(user_id=user_id, sku=1)),
        cart_stub.List(pb.ListRequest(user_id=user_id)),
        cart_stub.Clear(pb.ClearRequest(user_id=user_id)),
        cart_stub.Checkout(pb.CheckoutRequest(user_id=user_id)),
    ):
        assert await broken_rules_of(call) == {("user_id", "int64.gt")}


async def test_sku_count_and_request_id_keep_their_rules(cart_stub: CartServiceStub) -> None:
    assert await broken_rules_of(add(cart_stub, 1, 0)) == {("sku", "uint32.gt")}
    delete = cart_stub.ItemDelete(pb.ItemDeleteRequest(user_id=USER))
    assert await broken_rules_of(delete) == {("sku", "uint32.gt")}
    for count in (0, 65536):
        assert await broken_rules_of(add(cart_stub, count)) == {("count", "uint32.gte_lte")}
    assert await broken_rules_of(checkout(cart_stub, "17")) == {("request_id", "string.uuid")}


class FakeProduct(ProductServicer):
    """A catalogue of products that all cost 1. It remembers what came with the calls."""

    def __init__(self) -> None:
        super().__init__(Catalogue([], Throttle(0, utc_now)))
        self.tokens: list[str | None] = []
        self.request_ids: list[str] = []
        self.deadlines: list[float] = []
        self.throttled = False

    async def GetProduct(
        self, request: product_pb2.GetProductRequest, context: Context
    ) -> product_pb2.GetProductResponse:
        call = current_call.get()
        assert call is not None
        self.tokens.append(call.token)
        self.request_ids.append(call.request_id)
        self.deadlines.append(call.deadline)
        if self.throttled:
            raise ResourceExhaustedError("not now")
        return product_pb2.GetProductResponse(sku=request.sku, name="x", price=1)


class FakeLoms(LomsServicer):
    """A LOMS with endless stock that can be made slow, and that can refuse."""

    def __init__(self) -> None:
        storage = MemoryStorage({})
        super().__init__(Orders(storage, utc_now, timedelta(minutes=10), get_logger("loms")), Stocks(storage))
        self.hanging: asyncio.Event | None = None

    async def StocksInfo(self, request: loms_pb2.StocksInfoRequest, context: Context) -> loms_pb2.StocksInfoResponse:
        if self.hanging is not None:
            await self.hanging.wait()
        return loms_pb2.StocksInfoResponse(count=2**40)

    async def OrderCreate(self, request: loms_pb2.OrderCreateRequest, context: Context) -> loms_pb2.OrderCreateResponse:
        raise OutOfStockError([request.items[0].sku])


@asynccontextmanager
async def cart_before(loms: FakeLoms, product: FakeProduct) -> AsyncIterator[CartServiceStub]:
    """The cart with fakes behind it."""
    async with (
        serving(AnySettings(), servicer(loms_pb2_grpc.add_LomsServiceServicer_to_server, loms)) as loms_port,
        serving(
            AnySettings(),
            servicer(product_pb2_grpc.add_ProductServiceServicer_to_server, product),
            known_tokens=["mine", "testtoken"],
        ) as product_port,
        cart(
            CartSettings(
                listen=FREE,
                side_listen=FREE,
                loms_address=f"127.0.0.1:{loms_port}",
                product_address=f"127.0.0.1:{product_port}",
                product_rate_limit=UNLIMITED,
            )
        ) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield CartServiceStub(channel)


async def test_the_callers_token_and_request_id_reach_the_catalogue() -> None:
    product = FakeProduct()
    async with cart_before(FakeLoms(), product) as stub:
        metadata = (("authorization", "Bearer mine"), ("x-request-id", "abc"))
        await stub.ItemAdd(pb.ItemAddRequest(user_id=USER, sku=1, count=1), metadata=metadata)
        await stub.List(pb.ListRequest(user_id=USER))

    assert product.tokens == ["mine", "testtoken"]
    assert product.request_ids[0] == "abc"


async def test_what_is_left_of_the_deadline_reaches_the_catalogue() -> None:
    product = FakeProduct()
    loop = asyncio.get_running_loop()
    limits = []
    async with cart_before(FakeLoms(), product) as stub:
        for sku, timeout in enumerate((2, None, 3600), 1):
            started = loop.time()
            await stub.ItemAdd(pb.ItemAddRequest(user_id=USER, sku=sku, count=1), timeout=timeout)
            limits.append(product.deadlines[-1] - started)

    # gRPC rounds a timeout up, by up to two percent, when it writes it into the header.
    for limit, expected in zip(limits, (2, 15, 30), strict=True):
        assert expected * 0.9 < limit < expected * 1.03


async def test_a_throttled_catalogue_is_said_to_be_throttled() -> None:
    product = FakeProduct()
    product.throttled = True
    async with cart_before(FakeLoms(), product) as stub:
        assert await reason_of(add(stub)) == ("RESOURCE_EXHAUSTED", "RATE_LIMIT")


async def test_a_wrong_token_is_refused_by_the_catalogue(cart_stub: CartServiceStub) -> None:
    wrong = (("authorization", "Bearer wrong"),)
    add_ = cart_stub.ItemAdd(pb.ItemAddRequest(user_id=USER, sku=SKU, count=1), metadata=wrong)
    assert await reason_of(add_) == ("UNAUTHENTICATED", "TOKEN_INVALID")
    await add(cart_stub)
    list_ = cart_stub.List(pb.ListRequest(user_id=USER), metadata=wrong)
    assert await reason_of(list_) == ("UNAUTHENTICATED", "TOKEN_INVALID")


async def test_a_line_over_65535_and_a_cart_over_100_lines_are_refused() -> None:
    async with cart_before(FakeLoms(), FakeProduct()) as stub:
        for sku in range(1, 101):
            await add(stub, 65535, sku)

        assert await reason_of(add(stub, 1, 1)) == ("FAILED_PRECONDITION", "LINE_LIMIT")
        assert await reason_of(add(stub, 1, 101)) == ("FAILED_PRECONDITION", "CART_LIMIT")
        assert (await listed(stub)).total_price == 100 * 65535


async def test_a_slow_service_behind_ends_in_deadline_exceeded() -> None:
    loms = FakeLoms()
    loms.hanging = asyncio.Event()
    async with cart_before(loms, FakeProduct()) as stub:
        slow = stub.ItemAdd(pb.ItemAddRequest(user_id=USER, sku=1, count=1), timeout=0.2)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await slow
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_service_behind_that_is_down_is_unavailable_and_its_address_stays_private() -> None:
    settings = CartSettings(listen=FREE, side_listen=FREE, loms_address="127.0.0.1:1", product_address="127.0.0.1:1")
    async with cart(settings) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="product cannot be reached") as raised:
            await add(CartServiceStub(channel))

    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "127.0.0.1" not in (raised.value.details() or "")
