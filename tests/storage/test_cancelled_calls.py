"""Calls whose callers are gone: they leave nothing behind, in the service, in the pooler and in the database."""

import asyncio
import random

import grpc
from marketplace.loms.v1 import loms_pb2 as pb
from marketplace.loms.v1 import loms_pb2_grpc as pb_grpc

from services.chassis.clock import utc_now
from services.chassis.server import servicer, serving
from services.loms.postgres import PostgresStorage
from services.loms.servicer import LomsServicer
from services.loms.usecases import Stocks
from tests.pgbouncer import PgBouncer
from tests.settings import AnySettings
from tests.storage.conftest import Databases
from tests.storage.races import opened, orders_of, part
from tests.waiting import until

CANCELLED, NORMAL, AT_ONCE = part(10_000), part(1_000), 100
SKU, UNITS = 1, 1_000_000
LEFT = """
SELECT
    (SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%')
    + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')
"""
OPEN_ORDERS = "SELECT count(*) FROM orders WHERE status = 'awaiting payment'"


def order(user_id: int) -> pb.OrderCreateRequest:
    return pb.OrderCreateRequest(user_id=user_id, items=[pb.OrderItem(sku=SKU, count=1)])


async def test_a_storm_of_cancelled_calls_leaves_nothing_behind(pooled_databases: Databases, pooler: PgBouncer) -> None:
    async with pooled_databases("loms") as loms, opened(loms.dsn, {SKU: UNITS}) as raced:
        await raced.fill()
        storage = PostgresStorage(loms.database, loms.database)
        filled_in = LomsServicer(orders_of(storage, utc_now), Stocks(storage))
        codes: set[grpc.StatusCode] = set()
        after: set[grpc.StatusCode] = set()
        async with (
            serving(AnySettings(), servicer(pb_grpc.add_LomsServiceServicer_to_server, filled_in)) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            stub = pb_grpc.LomsServiceStub(channel)

            async def give_up(user_id: int) -> None:
                try:
                    await stub.OrderCreate(order(user_id), timeout=random.uniform(0.001, 0.03))
                except grpc.aio.AioRpcError as error:
                    codes.add(error.code())

            async def has_answered() -> bool:
                """While too many calls wait for the server to look at them, gRPC itself refuses more."""
                try:
                    await stub.OrderCreate(order(1))
                except grpc.aio.AioRpcError as error:
                    after.add(error.code())
                    return False
                return True

            for first in range(1, CANCELLED + 1, AT_ONCE):
                await asyncio.gather(*(give_up(user_id) for user_id in range(first, first + AT_ONCE)))
            await until(has_answered)
            await loms.database.idle()
            before = await raced.connection.fetchval(OPEN_ORDERS)
            for first in range(1, NORMAL + 1, AT_ONCE):
                await asyncio.gather(*(stub.OrderCreate(order(user_id)) for user_id in range(first, first + AT_ONCE)))

            assert after <= {grpc.StatusCode.CANCELLED}
            assert grpc.StatusCode.DEADLINE_EXCEEDED in codes
            assert codes <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
            assert await raced.connection.fetchval(LEFT) == 0
            assert await raced.connection.fetchval(OPEN_ORDERS) - before == NORMAL
            assert await raced.broken() == []
            assert pooler.is_alive()
