"""LomsService in the words of the contract: messages in, messages out."""

from uuid import UUID

from marketplace.loms.v1 import loms_pb2 as pb
from marketplace.loms.v1 import loms_pb2_grpc as pb_grpc

from services.chassis.call import current_owner
from services.chassis.server import Context
from services.loms.usecases import Item, Orders, Stocks


class LomsServicer(pb_grpc.LomsServiceServicer):
    def __init__(self, orders: Orders, stocks: Stocks) -> None:
        self._orders = orders
        self._stocks = stocks

    async def OrderCreate(self, request: pb.OrderCreateRequest, context: Context) -> pb.OrderCreateResponse:
        items = [Item(item.sku, item.count) for item in request.items]
        request_id = UUID(request.request_id) if request.HasField("request_id") else None
        order_id = await self._orders.create(request.user_id, items, request_id)
        return pb.OrderCreateResponse(order_id=order_id)

    async def OrderInfo(self, request: pb.OrderInfoRequest, context: Context) -> pb.OrderInfoResponse:
        order = await self._orders.info(request.order_id, current_owner())
        return pb.OrderInfoResponse(
            status=order.status,
            user_id=order.user_id,
            items=[pb.OrderLine(sku=item.sku, count=item.count) for item in order.items],
        )

    async def OrderPay(self, request: pb.OrderPayRequest, context: Context) -> pb.OrderPayResponse:
        await self._orders.pay(request.order_id, current_owner())
        return pb.OrderPayResponse()

    async def OrderCancel(self, request: pb.OrderCancelRequest, context: Context) -> pb.OrderCancelResponse:
        await self._orders.cancel(request.order_id, current_owner())
        return pb.OrderCancelResponse()

    async def StocksInfo(self, request: pb.StocksInfoRequest, context: Context) -> pb.StocksInfoResponse:
        return pb.StocksInfoResponse(count=await self._stocks.available(request.sku))
