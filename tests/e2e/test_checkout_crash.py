"""A checkout whose process is killed between the order and the empty cart."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import grpc
import pytest
from marketplace.cart.v1 import cart_pb2 as pb
from marketplace.cart.v1.cart_pb2_grpc import CartServiceStub
from marketplace.loms.v1 import loms_pb2
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub

from services.chassis.bus import InProcessTopic
from services.loms.__main__ import loms
from services.product.__main__ import product
from tests.marketplace import Program, free_ports, started
from tests.postgres import create_database
from tests.settings import FREE, LomsSettings, ProductSettings
from tests.waiting import until

USER, SKU, COUNT = 1, 1625903, 3
LOCK = 20_261_121
STOP_BEFORE_THE_CART_IS_EMPTIED = f"""
CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared({LOCK});
    RETURN new;
END $$;
CREATE TRIGGER stop BEFORE UPDATE OF ordered_version ON carts FOR EACH ROW EXECUTE FUNCTION stop();
SELECT pg_advisory_lock({LOCK});
"""
IS_STOPPED = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"


@pytest.fixture
def dsn(server: str) -> str:
    return asyncio.run(create_database(server))


@pytest.fixture
async def loms_port() -> AsyncIterator[int]:
    async with loms(LomsSettings(listen=FREE, side_listen=FREE), InProcessTopic()) as port:
        yield port


@pytest.fixture
async def product_port() -> AsyncIterator[int]:
    async with product(ProductSettings(listen=FREE, side_listen=FREE)) as port:
        yield port


async def test_a_checkout_that_is_killed_before_the_cart_is_empty_makes_one_order(
    dsn: str, loms_port: int, product_port: int, tmp_path: Path
) -> None:
    port, side_port = free_ports(2)
    settings = {
        "CART_LISTEN": f"127.0.0.1:{port}",
        "CART_SIDE_LISTEN": f"127.0.0.1:{side_port}",
        "CART_STORAGE": "postgres",
        "CART_DATABASE_URL": dsn,
        "CART_DATABASE_DIRECT_URL": dsn,
        "CART_LOMS_ADDRESS": f"127.0.0.1:{loms_port}",
        "CART_PRODUCT_ADDRESS": f"127.0.0.1:{product_port}",
    }

    @asynccontextmanager
    async def cart(log: str) -> AsyncIterator[tuple[Program, CartServiceStub]]:
        with started(tmp_path / log, sys.executable, "-m", "services.cart", **settings) as program:
            await asyncio.to_thread(program.answer, f"http://127.0.0.1:{side_port}/readyz")
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield program, CartServiceStub(channel)

    async with grpc.aio.insecure_channel(f"127.0.0.1:{loms_port}") as channel:
        stock = LomsServiceStub(channel)
        before = (await stock.StocksInfo(loms_pb2.StocksInfoRequest(sku=SKU))).count
        async with cart("first") as (program, stub):
            await stub.ItemAdd(pb.ItemAddRequest(user_id=USER, sku=SKU, count=COUNT))
            connection = await asyncpg.connect(dsn)
            await connection.execute(STOP_BEFORE_THE_CART_IS_EMPTIED)
            checkout = asyncio.ensure_future(stub.Checkout(pb.CheckoutRequest(user_id=USER)))
            await until(lambda: connection.fetchval(IS_STOPPED))
            program.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await checkout
            await connection.close()

        async with cart("second") as (_, stub):
            answer = await stub.Checkout(pb.CheckoutRequest(user_id=USER))
            with pytest.raises(grpc.aio.AioRpcError) as empty:
                await stub.List(pb.ListRequest(user_id=USER))
        after = (await stock.StocksInfo(loms_pb2.StocksInfoRequest(sku=SKU))).count

    assert answer.order_id == 1
    assert before - after == COUNT
    assert empty.value.code() is grpc.StatusCode.NOT_FOUND
