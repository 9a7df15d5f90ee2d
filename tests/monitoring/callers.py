"""Callers of whom each is another one: of each number a path, a user, a sku, a request id and a trace of its own."""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection

import grpc
from marketplace.cart.v1 import cart_pb2, cart_pb2_grpc
from marketplace.loms.v1 import loms_pb2, loms_pb2_grpc
from marketplace.notifier.v1 import notifier_pb2, notifier_pb2_grpc
from marketplace.product.v1 import product_pb2, product_pb2_grpc

from tests.monitoring.stack import TOKEN


def headers_of(number: int) -> dict[str, str]:
    """What goes with a call. Its trace is not sampled."""
    return {
        "x-request-id": f"request-{number}",
        "traceparent": f"00-{number:032x}-{number:016x}-00",
        "tracestate": f"caller={number}",
        **TOKEN,
    }


def request_of(number: int) -> tuple[str, str]:
    """Method and path of a request. Some are unknown."""
    match number % 6:
        case 0:
            return "GET", f"/path-{number}?key-{number}={number}"
        case 1:
            return f"METHOD{number}", f"/user/{number}/cart"
        case 2:
            return "GET", f"/user/{number}/cart"
        case 3:
            return "GET", f"/stock/info?sku={number}"
        case 4:
            return "GET", f"/order/{number}/notifications"
        case _:
            return "GET", f"/product/{number}"


def call_over_http(address: str, numbers: Iterable[int]) -> None:
    """Sends the requests of these numbers, one after the other. What is answered does not matter."""
    connection = HTTPConnection(address, timeout=20)
    for number in numbers:
        connection.request(*request_of(number), headers=headers_of(number))
        connection.getresponse().read()
    connection.close()


async def call_over_grpc(settings: Mapping[str, str], numbers: Iterator[int], at_once: int) -> None:
    """Makes the calls of these numbers. What is answered does not matter."""
    async with (
        grpc.aio.insecure_channel(settings["GATEWAY_CART_ADDRESS"]) as cart,
        grpc.aio.insecure_channel(settings["GATEWAY_LOMS_ADDRESS"]) as loms,
        grpc.aio.insecure_channel(settings["GATEWAY_NOTIFIER_ADDRESS"]) as notifier,
        grpc.aio.insecure_channel(settings["GATEWAY_PRODUCT_ADDRESS"]) as product,
    ):
        carts, orders = cart_pb2_grpc.CartServiceStub(cart), loms_pb2_grpc.LomsServiceStub(loms)
        notifications = notifier_pb2_grpc.NotifierServiceStub(notifier)
        products = product_pb2_grpc.ProductServiceStub(product)

        def call(number: int) -> Awaitable[object]:
            metadata = tuple(headers_of(number).items())
            match number % 4:
                case 0:
                    return carts.List(cart_pb2.ListRequest(user_id=number), metadata=metadata)
                case 1:
                    return orders.StocksInfo(loms_pb2.StocksInfoRequest(sku=number), metadata=metadata)
                case 2:
                    asked = notifier_pb2.ListNotificationsRequest(order_id=number)
                    return notifications.ListNotifications(asked, metadata=metadata)
                case _:
                    return products.GetProduct(product_pb2.GetProductRequest(sku=number), metadata=metadata)

        async def worker() -> None:
            for number in numbers:
                with suppress(grpc.aio.AioRpcError):
                    await call(number)

        await asyncio.gather(*(worker() for _ in range(at_once)))
