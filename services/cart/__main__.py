"""The cart as a process: `python -m services.cart`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from marketplace.cart.v1 import cart_pb2_grpc as pb_grpc
from marketplace.loms.v1 import loms_pb2_grpc
from marketplace.product.v1 import product_pb2_grpc
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from services.cart.clients import LomsClient, ProductClient
from services.cart.memory import MemoryStorage
from services.cart.postgres import PostgresStorage
from services.cart.servicer import CartServicer
from services.cart.usecases import Carts
from services.chassis.background import background, every
from services.chassis.client import client
from services.chassis.clock import Clock, utc_now
from services.chassis.lifecycle import main
from services.chassis.log import Logger, get_logger
from services.chassis.migrations import migrated_database
from services.chassis.server import servicer, serving
from services.chassis.settings import Address, DatabaseSettings, Replicas

MIGRATIONS = Path(__file__).parents[2] / "sql" / "cart" / "migrations"
FORGET_INTERVAL_SECONDS = 60


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


@asynccontextmanager
async def storage_of(settings: CartSettings, log: Logger) -> AsyncIterator[MemoryStorage | PostgresStorage]:
    """Where carts live."""
    if settings.storage == "memory":
        yield MemoryStorage()
        return
    async with migrated_database(settings, MIGRATIONS, log) as database:
        yield PostgresStorage(database)


@asynccontextmanager
async def cart(settings: CartSettings, clock: Clock = utc_now) -> AsyncIterator[int]:
    """Serves the cart; gives the port."""
    log = get_logger(settings.service)
    token = settings.product_token.get_secret_value()
    async with (
        storage_of(settings, log) as storage,
        client(loms_pb2_grpc.LomsServiceStub, settings.loms_address, "loms") as loms,
        client(product_pb2_grpc.ProductServiceStub, settings.product_address, "product", token) as product,
    ):
        carts = Carts(
            storage,
            ProductClient(product),
            LomsClient(loms),
            clock,
        )
        registered = servicer(pb_grpc.add_CartServiceServicer_to_server, CartServicer(carts))
        forgetting = every(FORGET_INTERVAL_SECONDS, carts.forget_requests, log)
        async with background(forgetting), serving(settings, registered) as port:
            yield port


if __name__ == "__main__":
    main(CartSettings, cart)
