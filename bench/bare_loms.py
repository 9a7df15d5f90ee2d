"""LOMS without the platform: grpc.aio, asyncpg and the statements of the storage, with nothing between them.

    python -m bench.bare_loms ADDRESS DATABASE_URL

It reads no metadata, checks no rules, sets no deadline, writes no log line, and leaves
the outbox as it is.
"""

import sys

import asyncpg
import grpc
import uvloop
from loms_db import orders, stocks
from loms_db.orders import CreateOrderParams
from marketplace.loms.v1 import loms_pb2 as pb
from marketplace.loms.v1 import loms_pb2_grpc as pb_grpc

from services.chassis.clock import utc_now
from services.chassis.lifecycle import stop_on_signal
from services.chassis.server import Context

CONNECTIONS = 10


class BareServicer(pb_grpc.LomsServiceServicer):
    """The three RPCs that are measured."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def OrderCreate(self, request: pb.OrderCreateRequest, context: Context) -> pb.OrderCreateResponse:
        counts = {item.sku: item.count for item in request.items}
        skus = sorted(counts)
        new = CreateOrderParams(
            user_id=request.user_id,
            request_id=None,
            body_hash=b"",
            moment=utc_now(),
            skus=skus,
            counts=[counts[sku] for sku in skus],
            traceparent=None,
        )
        async with self._pool.acquire() as connection:
            created = await orders.AsyncQuerier(connection).create_order(new)
        assert created is not None
        return pb.OrderCreateResponse(order_id=created.order_id)

    async def OrderInfo(self, request: pb.OrderInfoRequest, context: Context) -> pb.OrderInfoResponse:
        async with self._pool.acquire() as connection:
            order = await orders.AsyncReader(connection).order(order_id=request.order_id, owner=None)
        assert order is not None
        items = [pb.OrderLine(sku=sku, count=count) for sku, count in zip(order.skus, order.counts, strict=True)]
        return pb.OrderInfoResponse(status=order.status, user_id=order.user_id, items=items)

    async def StocksInfo(self, request: pb.StocksInfoRequest, context: Context) -> pb.StocksInfoResponse:
        async with self._pool.acquire() as connection:
            available = await stocks.AsyncReader(connection).available_stock(sku=request.sku)
        assert available is not None
        return pb.StocksInfoResponse(count=available)

    async def OrderPay(self, request: pb.OrderPayRequest, context: Context) -> pb.OrderPayResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody measures it")

    async def OrderCancel(self, request: pb.OrderCancelRequest, context: Context) -> pb.OrderCancelResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody measures it")


async def no_reset(_connection: object) -> None:
    """The pool sends no reset query, as that of the shipped LOMS does not."""


async def serve(address: str, database_url: str) -> None:
    stop = stop_on_signal()
    async with asyncpg.create_pool(database_url, min_size=1, max_size=CONNECTIONS, reset=no_reset) as pool:
        server = grpc.aio.server()
        pb_grpc.add_LomsServiceServicer_to_server(BareServicer(pool), server)
        server.add_insecure_port(address)
        await server.start()
        await stop.wait()
        await server.stop(None)


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
