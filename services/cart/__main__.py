"""The cart as a process: `python -m services.cart`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from marketplace.cart.v1 import cart_pb2_grpc as pb_grpc
from marketplace.loms.v1 import loms_pb2_grpc
from marketplace.product.v1 import product_pb2_grpc
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.cart.clients import LomsClient, ProductClient, cached_products
from services.cart.memory import MemoryStorage
from services.cart.postgres import PostgresStorage
from services.cart.servicer import CartServicer
from services.cart.usecases import Carts
from services.chassis.background import background, every
from services.chassis.cache import LocalStore
from services.chassis.client import LimiterOf, client
from services.chassis.clock import Clock, utc_now
from services.chassis.contract import Rpc
from services.chassis.lifecycle import main
from services.chassis.log import Logger, get_logger
from services.chassis.metrics import Readings
from services.chassis.migrations import migrated_database
from services.chassis.rate_limiter import Turns, own_share
from services.chassis.redis_urls import RedisUrls, split_urls
from services.chassis.server import servicer, serving
from services.chassis.settings import Address, DatabaseSettings, Replicas
from services.chassis.tls import tls_of

if TYPE_CHECKING:
    from services.chassis.redis_shards import RedisShards

MIGRATIONS = Path(__file__).parents[2] / "sql" / "cart" / "migrations"
FORGET_INTERVAL_SECONDS = 60
OBJECTS = Readings("cart_objects", "What the in-memory cart holds.", ("kind",))


class CartSettings(DatabaseSettings):
    model_config = SettingsConfigDict(env_prefix="CART_")
    service: ClassVar[str] = "cart"

    listen: Address = "127.0.0.1:50051"
    side_listen: Address = "127.0.0.1:9101"
    loms_address: Replicas = "127.0.0.1:50052"
    """Where LOMS serves gRPC."""
    product_address: Replicas = "127.0.0.1:50053"
    """Where the catalogue serves gRPC."""
    product_token: SecretStr = SecretStr("testtoken")
    """The token for the catalogue, for callers that bring none."""
    product_rate_limit: int | None = Field(default=None, ge=1)
    """How many calls a second the catalogue gets, instead of what the contract says."""
    redis_urls: RedisUrls | None = None
    """The shards of the cache: each `redis://…`. Without them each process has a cache of its own."""
    replicas: int = Field(default=1, ge=1)
    """How many replicas of the cart share the limits."""


@asynccontextmanager
async def storage_of(settings: CartSettings, log: Logger) -> AsyncIterator[MemoryStorage | PostgresStorage]:
    """Where carts live."""
    if settings.storage == "memory":
        storage = MemoryStorage()
        with OBJECTS.source(storage.objects):
            yield storage
        return
    async with migrated_database(settings, MIGRATIONS, log) as database:
        yield PostgresStorage(database)


@asynccontextmanager
async def shards_of(settings: CartSettings, log: Logger) -> "AsyncIterator[RedisShards | None]":
    """What the replicas share, if there is Redis."""
    if settings.redis_urls is None:
        yield None
        return
    from services.chassis.redis_shards import redis_shards  # noqa: PLC0415  Redis takes 0.3 s, and there may be none

    async with redis_shards(split_urls(settings.redis_urls), log) as shards:
        yield shards


def limiter_of(settings: CartSettings, shards: "RedisShards | None", log: Logger) -> LimiterOf:
    """Makes the limiters of the calls to the catalogue: those of all replicas together where the contract says so."""

    def limiter(limited: Rpc) -> Turns:
        assert limited.rate is not None
        rate, limit = limited.rate, settings.product_rate_limit
        if limit is not None:
            rate = replace(rate, per_second=limit, burst=limit)
        if shards is None or not rate.is_shared:
            return own_share(rate, settings.replicas)
        from services.chassis.shared_rate_limiter import SharedRateLimiter  # noqa: PLC0415  as above

        return SharedRateLimiter(shards.shard_of(limited.path), limited.path, rate, settings.replicas, log)

    return limiter


@asynccontextmanager
async def cart(settings: CartSettings, clock: Clock = utc_now) -> AsyncIterator[int]:
    """Serves the cart; gives the port."""
    log = get_logger(settings.service)
    token = settings.product_token.get_secret_value()
    async with (
        storage_of(settings, log) as storage,
        shards_of(settings, log) as shards,
        client(loms_pb2_grpc.LomsServiceStub, settings.loms_address, "loms", tls=tls_of(settings)) as loms,
        client(
            product_pb2_grpc.ProductServiceStub,
            settings.product_address,
            "product",
            token,
            limiter_of(settings, shards, log),
            tls=tls_of(settings),
        ) as product,
        cached_products(ProductClient(product), LocalStore() if shards is None else shards, token) as products,
    ):
        carts = Carts(storage, products, LomsClient(loms), clock)
        registered = servicer(pb_grpc.add_CartServiceServicer_to_server, CartServicer(carts))
        forgetting = every(FORGET_INTERVAL_SECONDS, carts.forget_requests, log)
        async with background(forgetting), serving(settings, registered) as port:
            yield port


if __name__ == "__main__":
    main(CartSettings, cart)
