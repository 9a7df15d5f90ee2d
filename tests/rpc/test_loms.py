"""LomsService over gRPC."""

import asyncio
from uuid import uuid4

import pytest
from marketplace.loms.v1 import loms_pb2 as pb
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub

from tests.clock import FakeClock
from tests.rpc.expect import broken_rules_of, reason_of

SKU, RESERVED_SKU, UNKNOWN_SKU = 1076963, 139819069, 404
UNKNOWN_ORDER = 9223372036854775001


def order(count: int = 1, sku: int = SKU, request_id: str | None = None) -> pb.OrderCreateRequest:
    return pb.OrderCreateRequest(user_id=1, items=[pb.OrderItem(sku=sku, count=count)], request_id=request_id)


async def create(stub: LomsServiceStub, count: int = 1) -> int:
    return (await stub.OrderCreate(order(count))).order_id


async def status(stub: LomsServiceStub, order_id: int) -> str:
    return (await stub.OrderInfo(pb.OrderInfoRequest(order_id=order_id))).status


async def stock(stub: LomsServiceStub, sku: int = SKU) -> int:
    return (await stub.StocksInfo(pb.StocksInfoRequest(sku=sku))).count


async def test_a_created_order_awaits_payment_and_lists_its_items_by_sku(loms_stub: LomsServiceStub) -> None:
    items = [pb.OrderItem(sku=sku, count=2) for sku in (2958025, SKU, 2958025)]
    created = await loms_stub.OrderCreate(pb.OrderCreateRequest(user_id=5, items=items))

    assert await loms_stub.OrderInfo(pb.OrderInfoRequest(order_id=created.order_id)) == pb.OrderInfoResponse(
        status="awaiting payment",
        user_id=5,
        items=[pb.OrderLine(sku=SKU, count=2), pb.OrderLine(sku=2958025, count=4)],
    )
    assert await stock(loms_stub) == 263


@pytest.mark.parametrize(("count", "sku"), [(266, SKU), (1, RESERVED_SKU), (1, UNKNOWN_SKU)])
async def test_an_order_that_the_stock_does_not_cover_fails(loms_stub: LomsServiceStub, count: int, sku: int) -> None:
    assert await reason_of(loms_stub.OrderCreate(order(count, sku))) == ("FAILED_PRECONDITION", "OUT_OF_STOCK")
    assert await status(loms_stub, 1) == "failed"
    assert await stock(loms_stub) == 265


async def test_thirty_creates_at_once_with_one_request_id_make_one_order(loms_stub: LomsServiceStub) -> None:
    request = order(2, request_id=str(uuid4()))
    answers = await asyncio.gather(*(loms_stub.OrderCreate(request) for _ in range(30)))

    assert {answer.order_id for answer in answers} == {1}
    assert await stock(loms_stub) == 263


async def test_a_request_id_in_capitals_is_the_same_one(loms_stub: LomsServiceStub) -> None:
    request_id = str(uuid4())

    for given in (request_id, request_id.upper()):
        assert (await loms_stub.OrderCreate(order(request_id=given))).order_id == 1


async def test_a_request_id_for_another_order_is_aborted(loms_stub: LomsServiceStub) -> None:
    request_id = str(uuid4())
    await loms_stub.OrderCreate(order(1, request_id=request_id))

    again = loms_stub.OrderCreate(order(2, request_id=request_id))
    assert await reason_of(again) == ("ABORTED", "REQUEST_ID_REUSED")


async def test_a_refusal_is_given_again_for_its_request_id(loms_stub: LomsServiceStub) -> None:
    request_id = str(uuid4())
    for _ in range(2):
        refused = loms_stub.OrderCreate(order(266, request_id=request_id))
        assert await reason_of(refused) == ("FAILED_PRECONDITION", "OUT_OF_STOCK")


async def test_a_paid_order_is_payed_once_and_cannot_be_cancelled(loms_stub: LomsServiceStub) -> None:
    order_id = await create(loms_stub, 2)
    for _ in range(2):
        await loms_stub.OrderPay(pb.OrderPayRequest(order_id=order_id))

    assert await status(loms_stub, order_id) == "payed"
    assert await stock(loms_stub) == 263
    cancel = loms_stub.OrderCancel(pb.OrderCancelRequest(order_id=order_id))
    assert await reason_of(cancel) == ("FAILED_PRECONDITION", "ORDER_STATUS")


async def test_a_cancelled_order_is_cancelled_once_and_cannot_be_paid(loms_stub: LomsServiceStub) -> None:
    order_id = await create(loms_stub, 2)
    for _ in range(2):
        await loms_stub.OrderCancel(pb.OrderCancelRequest(order_id=order_id))

    assert await status(loms_stub, order_id) == "cancelled"
    assert await stock(loms_stub) == 265
    pay = loms_stub.OrderPay(pb.OrderPayRequest(order_id=order_id))
    assert await reason_of(pay) == ("FAILED_PRECONDITION", "ORDER_STATUS")


@pytest.mark.parametrize("order_id", [404, UNKNOWN_ORDER])
async def test_an_unknown_order_is_not_found(loms_stub: LomsServiceStub, order_id: int) -> None:
    for call in (
        loms_stub.OrderInfo(pb.OrderInfoRequest(order_id=order_id)),
        loms_stub.OrderPay(pb.OrderPayRequest(order_id=order_id)),
        loms_stub.OrderCancel(pb.OrderCancelRequest(order_id=order_id)),
    ):
        assert await reason_of(call) == ("NOT_FOUND", "ORDER_NOT_FOUND")


async def test_the_stock_of_an_unknown_sku_is_not_found(loms_stub: LomsServiceStub) -> None:
    unknown = loms_stub.StocksInfo(pb.StocksInfoRequest(sku=UNKNOWN_SKU))
    assert await reason_of(unknown) == ("NOT_FOUND", "SKU_NOT_FOUND")


async def test_a_sku_that_is_reserved_beyond_its_total_has_no_units(loms_stub: LomsServiceStub) -> None:
    assert await stock(loms_stub, 139818428) == 0


async def test_an_unpaid_order_is_cancelled_in_the_background(loms_stub: LomsServiceStub, clock: FakeClock) -> None:
    order_id = await create(loms_stub)
    clock.move(minutes=11)

    async with asyncio.timeout(5):
        while await status(loms_stub, order_id) != "cancelled":
            await asyncio.sleep(0.01)
    assert await stock(loms_stub) == 265


BROKEN = [
    (pb.OrderCreateRequest(items=[pb.OrderItem(sku=1, count=1)]), {("user_id", "int64.gt")}),
    (pb.OrderCreateRequest(user_id=-1, items=[pb.OrderItem(sku=1, count=1)]), {("user_id", "int64.gt")}),
    (pb.OrderCreateRequest(user_id=1), {("items", "repeated.min_items")}),
    (pb.OrderCreateRequest(user_id=1, items=[pb.OrderItem(sku=1, count=1)] * 101), {("items", "repeated.max_items")}),
    (order(0), {("items[0].count", "uint32.gte_lte")}),
    (order(65536), {("items[0].count", "uint32.gte_lte")}),
    (order(1, 0), {("items[0].sku", "uint32.gt")}),
    (order(request_id="not a uuid"), {("request_id", "string.uuid")}),
    (order(request_id=""), {("request_id", "string.uuid_empty")}),
    (
        pb.OrderCreateRequest(items=[pb.OrderItem(sku=1, count=1), pb.OrderItem()]),
        {("user_id", "int64.gt"), ("items[1].sku", "uint32.gt"), ("items[1].count", "uint32.gte_lte")},
    ),
]


@pytest.mark.parametrize(("request_", "broken"), BROKEN)
async def test_a_broken_order_names_every_field_and_rule(
    loms_stub: LomsServiceStub, request_: pb.OrderCreateRequest, broken: set[tuple[str, str]]
) -> None:
    assert await broken_rules_of(loms_stub.OrderCreate(request_)) == broken


async def test_ids_must_be_positive(loms_stub: LomsServiceStub) -> None:
    for number in (0, -1, -(2**63)):
        for call in (
            loms_stub.OrderInfo(pb.OrderInfoRequest(order_id=number)),
            loms_stub.OrderPay(pb.OrderPayRequest(order_id=number)),
            loms_stub.OrderCancel(pb.OrderCancelRequest(order_id=number)),
        ):
            assert await broken_rules_of(call) == {("order_id", "int64.gt")}
    assert await broken_rules_of(loms_stub.StocksInfo(pb.StocksInfoRequest())) == {("sku", "uint32.gt")}
