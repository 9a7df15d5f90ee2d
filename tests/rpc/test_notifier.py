"""NotifierService over gRPC, fed by LOMS."""

import asyncio

import pytest
from marketplace.loms.v1 import loms_pb2
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub
from marketplace.notifier.v1 import notifier_pb2 as pb
from marketplace.notifier.v1.notifier_pb2_grpc import NotifierServiceStub

from services.chassis.bus import InProcessTopic, Message
from tests.clock import FakeClock
from tests.rpc.expect import broken_rules_of


async def notifications(stub: NotifierServiceStub, order_id: int, count: int) -> list[pb.Notification]:
    """The notifications of the order, when there are so many."""
    async with asyncio.timeout(5):
        while True:
            found = await stub.ListNotifications(pb.ListNotificationsRequest(order_id=order_id))
            if len(found.notifications) >= count:
                return list(found.notifications)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("final", ["payed", "cancelled"])
async def test_each_change_of_an_order_is_notified_in_order(
    notifier_stub: NotifierServiceStub, loms_stub: LomsServiceStub, clock: FakeClock, final: str
) -> None:
    item = loms_pb2.OrderItem(sku=1076963, count=1)
    order_id = (await loms_stub.OrderCreate(loms_pb2.OrderCreateRequest(user_id=1, items=[item]))).order_id
    created = clock()
    clock.move(seconds=1)
    if final == "payed":
        await loms_stub.OrderPay(loms_pb2.OrderPayRequest(order_id=order_id))
    else:
        await loms_stub.OrderCancel(loms_pb2.OrderCancelRequest(order_id=order_id))

    found = await notifications(notifier_stub, order_id, 3)
    assert [one.status for one in found] == ["new", "awaiting payment", final]
    assert [one.moment.ToDatetime(created.tzinfo) for one in found] == [created, created, clock()]


async def test_a_failed_order_is_notified_too(notifier_stub: NotifierServiceStub, loms_stub: LomsServiceStub) -> None:
    item = loms_pb2.OrderItem(sku=404, count=1)
    with pytest.raises(Exception, match="not enough stock"):
        await loms_stub.OrderCreate(loms_pb2.OrderCreateRequest(user_id=1, items=[item]))

    assert [one.status for one in await notifications(notifier_stub, 1, 2)] == ["new", "failed"]


async def test_an_expired_order_is_notified_as_cancelled(
    notifier_stub: NotifierServiceStub, loms_stub: LomsServiceStub, clock: FakeClock
) -> None:
    item = loms_pb2.OrderItem(sku=1076963, count=1)
    await loms_stub.OrderCreate(loms_pb2.OrderCreateRequest(user_id=1, items=[item]))
    clock.move(minutes=11)

    assert [one.status for one in await notifications(notifier_stub, 1, 3)][-1] == "cancelled"


def event(order_id: int, sequence: int, status: bytes = b"new") -> Message:
    value = b'{"order_id": %d, "status": "%s", "moment": "2026-01-02T12:00:00.678Z"}' % (order_id, status)
    event_id = f"00000000-0000-0000-0000-{order_id:06}{sequence:06}".encode()
    headers = (("event-id", event_id), ("sequence", b"%d" % sequence), ("user-id", b"7"))
    return Message(b"%d" % order_id, value, headers)


async def test_behind_a_broken_event_only_those_of_its_order_wait(
    notifier_stub: NotifierServiceStub, order_events: InProcessTopic
) -> None:
    broken = range(1, 6)
    for sequence, status in enumerate([b"new", b"awaiting payment", b"payed"], 1):
        orders = [
            event(order_id, sequence, b"paid" if sequence == 2 and order_id in broken else status)
            for order_id in range(1, 11)
        ]
        await order_events.publish(orders)

    for order_id in range(10, 0, -1):
        expected = ["new"] if order_id in broken else ["new", "awaiting payment", "payed"]
        found = await notifications(notifier_stub, order_id, len(expected))
        assert [one.status for one in found] == expected


async def test_an_unknown_order_has_no_notifications(notifier_stub: NotifierServiceStub) -> None:
    answer = await notifier_stub.ListNotifications(pb.ListNotificationsRequest(order_id=404))
    assert answer == pb.ListNotificationsResponse()


async def test_the_order_id_must_be_positive(notifier_stub: NotifierServiceStub) -> None:
    call = notifier_stub.ListNotifications(pb.ListNotificationsRequest())
    assert await broken_rules_of(call) == {("order_id", "int64.gt")}
