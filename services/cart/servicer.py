"""CartService in the words of the contract: messages in, messages out."""

from uuid import UUID

from marketplace.cart.v1 import cart_pb2 as pb
from marketplace.cart.v1 import cart_pb2_grpc as pb_grpc

from services.cart.usecases import Carts, Item
from services.chassis.server import Context


class CartServicer(pb_grpc.CartServiceServicer):
    def __init__(self, carts: Carts) -> None:
        self._carts = carts

    async def ItemAdd(self, request: pb.ItemAddRequest, context: Context) -> pb.ItemAddResponse:
        await self._carts.add(request.user_id, Item(request.sku, request.count))
        return pb.ItemAddResponse()

    async def ItemDelete(self, request: pb.ItemDeleteRequest, context: Context) -> pb.ItemDeleteResponse:
        await self._carts.delete(request.user_id, request.sku)
        return pb.ItemDeleteResponse()

    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        cart = await self._carts.priced(request.user_id)
        return pb.ListResponse(
            items=[
                pb.CartItem(
                    sku=line.item.sku,
                    name=line.product.name,
                    count=line.item.count,
                    price=line.product.price,
                )
                for line in cart.lines
            ],
            total_price=cart.total_price,
        )

    async def Clear(self, request: pb.ClearRequest, context: Context) -> pb.ClearResponse:
        await self._carts.clear(request.user_id)
        return pb.ClearResponse()

    async def Checkout(self, request: pb.CheckoutRequest, context: Context) -> pb.CheckoutResponse:
        request_id = UUID(request.request_id) if request.HasField("request_id") else None
        return pb.CheckoutResponse(order_id=await self._carts.checkout(request.user_id, request_id))
