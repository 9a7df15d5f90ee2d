"""Replicas of the cart as they are shipped, with the Redis that they share."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import pytest
from marketplace.cart.v1 import cart_pb2 as pb
from marketplace.cart.v1.cart_pb2_grpc import CartServiceStub
from marketplace.product.v1 import product_pb2, product_pb2_grpc
from pydantic import SecretStr

from services.cart.__main__ import cart, limiter_of
from services.cart.clients import GET_PRODUCT
from services.chassis.clock import utc_now
from services.chassis.contract import rpc
from services.chassis.log import get_logger
from services.chassis.rate_limiter import RateLimiter
from services.chassis.redis_shards import RedisShards
from services.chassis.server import Context, servicer, serving
from services.chassis.settings import StartError, load
from services.chassis.shared_rate_limiter import SharedRateLimiter
from services.loms.__main__ import loms
from services.product.servicer import ProductServicer
from services.product.usecases import Catalogue, Product, Throttle
from tests.marketplace import UNLIMITED
from tests.redis import RedisServer, running_redis
from tests.settings import FREE, AnySettings, CartSettings, LomsSettings

SKUS = [1076963, 1148162, 1625903, 2618151, 2956315, 2958025, 3596599, 3618852]


class Counting(ProductServicer):
    """The catalogue. It counts how often it is asked for a sku."""

    def __init__(self) -> None:
        super().__init__(Catalogue([Product(sku, "x", 1) for sku in SKUS], Throttle(0, utc_now)))
        self.asked: Counter[int] = Counter()

    async def GetProduct(
        self, request: product_pb2.GetProductRequest, context: Context
    ) -> product_pb2.GetProductResponse:
        self.asked[request.sku] += 1
        return await super().GetProduct(request, context)


@asynccontextmanager
async def two_replicas(product: Counting, servers: Sequence[RedisServer]) -> AsyncIterator[list[CartServiceStub]]:
    """Two replicas with the same services behind them. Each has carts of its own, in its memory."""
    async with (
        loms(LomsSettings(listen=FREE, side_listen=FREE)) as loms_port,
        serving(
            AnySettings(),
            servicer(product_pb2_grpc.add_ProductServiceServicer_to_server, product),
            known_tokens=["testtoken"],
        ) as product_port,
    ):
        settings = CartSettings(
            listen=FREE,
            side_listen=FREE,
            loms_address=f"127.0.0.1:{loms_port}",
            product_address=f"127.0.0.1:{product_port}",
            redis_urls=SecretStr(urls_of(servers)),
            product_rate_limit=UNLIMITED,
            replicas=2,
        )
        async with (
            cart(settings) as one,
            cart(settings) as other,
            grpc.aio.insecure_channel(f"127.0.0.1:{one}") as to_one,
            grpc.aio.insecure_channel(f"127.0.0.1:{other}") as to_other,
        ):
            yield [CartServiceStub(to_one), CartServiceStub(to_other)]


def urls_of(servers: Sequence[RedisServer]) -> str:
    return ",".join(server.url for server in servers)


async def bought(stub: CartServiceStub) -> list[int]:
    """Fills a cart and gives the skus of its list."""
    for sku in SKUS:
        await stub.ItemAdd(pb.ItemAddRequest(user_id=1, sku=sku, count=1))
    return [item.sku for item in (await stub.List(pb.ListRequest(user_id=1))).items]


@pytest.mark.usefixtures("patient", "shards")
async def test_two_replicas_ask_the_catalogue_for_a_product_once(servers: list[RedisServer]) -> None:
    product = Counting()
    async with two_replicas(product, servers) as [one, other]:
        assert await bought(one) == SKUS
        assert await bought(other) == SKUS

    assert product.asked == Counter(SKUS)


async def test_a_cart_whose_redis_is_gone_sells_on() -> None:
    product = Counting()
    with running_redis(2) as servers:
        async with two_replicas(product, servers) as [one, other]:
            await bought(one)
            for server in servers:
                server.kill()
            for stub in (one, other):
                assert await bought(stub) == SKUS


@pytest.mark.parametrize(
    "wrong",
    ["10.0.0.1:6379", "http://10.0.0.1", "redis://", "redis://h:99999", "redis://h/x", "redis://h?db=1", "redis://h,"],
)
def test_what_is_no_redis_is_refused_when_settings_load_and_no_password_is_told(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CART_REDIS_URLS", f"redis://user:s3cr3t-canary@10.0.0.9,{wrong}")

    with pytest.raises(StartError, match="CART_REDIS_URLS=…: ") as raised:
        load(CartSettings)
    assert "canary" not in str(raised.value)


def test_one_database_is_not_two_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CART_REDIS_URLS", "redis://a:1@h,redis://b:2@h:6379/0")

    with pytest.raises(StartError, match="the same database"):
        load(CartSettings)


@pytest.mark.parametrize(("limit", "expected"), [(None, 10), (3, 3)])
async def test_the_catalogue_gets_so_many_calls_as_the_contract_or_the_setting_says(
    limit: int | None, expected: int, shards: RedisShards
) -> None:
    log, limited = get_logger("tested"), rpc(GET_PRODUCT)
    settings = CartSettings(product_rate_limit=limit)

    own = limiter_of(settings, None, log)(limited)
    shared = limiter_of(settings, shards, log)(limited)

    assert isinstance(own, RateLimiter)
    assert isinstance(shared, SharedRateLimiter)
    for limiter in (own, shared):
        starts = []
        for _ in range(expected + 1):
            await limiter.turn()
            starts.append(time.monotonic())
        assert starts[expected] - starts[0] >= 1
        assert starts[expected - 1] - starts[0] < expected  # one by one they would take longer
