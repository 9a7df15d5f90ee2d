"""A cart without the platform: grpc.aio, which makes the same list anew for every call.

It listens where the cart would (CART_LISTEN), keeps nothing of what is added, looks up no
product, reads no metadata, checks no rules, sets no deadline and writes no log line: no cart on
grpc.aio needs less.
"""

import os

import grpc
import uvloop
from marketplace.cart.v1 import cart_pb2 as pb
from marketplace.cart.v1 import cart_pb2_grpc as pb_grpc

from services.chassis.lifecycle import stop_on_signal
from services.chassis.server import Context

LINES = 10
NAME, PRICE = "Теория нравственных чувств | Смит Адам", 3379


class BareServicer(pb_grpc.CartServiceServicer):
    """Lists ten lines."""

    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        items = [pb.CartItem(sku=sku, name=NAME, count=1, price=PRICE) for sku in range(1, LINES + 1)]
        return pb.ListResponse(items=items, total_price=LINES * PRICE)

    async def ItemAdd(self, request: pb.ItemAddRequest, context: Context) -> pb.ItemAddResponse:
        return pb.ItemAddResponse()

    async def ItemDelete(self, request: pb.ItemDeleteRequest, context: Context) -> pb.ItemDeleteResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody measures it")

    async def Clear(self, request: pb.ClearRequest, context: Context) -> pb.ClearResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody measures it")

    async def Checkout(self, request: pb.CheckoutRequest, context: Context) -> pb.CheckoutResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody measures it")


async def serve(address: str) -> None:
    stop = stop_on_signal()
    server = grpc.aio.server()
    pb_grpc.add_CartServiceServicer_to_server(BareServicer(), server)
    server.add_insecure_port(address)
    await server.start()
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(serve(os.environ["CART_LISTEN"]))
