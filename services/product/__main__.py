"""The catalogue as a process: `python -m services.product`."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from marketplace.product.v1 import product_pb2_grpc as pb_grpc
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.chassis.clock import Clock, utc_now
from services.chassis.lifecycle import main
from services.chassis.server import servicer, serving
from services.chassis.settings import Address, ServiceSettings
from services.product.servicer import ProductServicer
from services.product.usecases import Catalogue, Product, Throttle

CATALOGUE_FILE = Path(__file__).with_name("catalogue.json")


class ProductSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PRODUCT_")
    service: ClassVar[str] = "product"

    listen: Address = "127.0.0.1:50053"
    side_listen: Address = "127.0.0.1:9103"
    token: SecretStr = SecretStr("testtoken")
    """The token that callers need while access is off."""
    rate_limit: int = Field(default=0, ge=0)
    """How many calls a second it takes; 0 for any number."""


@asynccontextmanager
async def product(settings: ProductSettings, clock: Clock = utc_now) -> AsyncIterator[int]:
    """Serves the catalogue; gives the port."""
    products = [Product(**row) for row in json.loads(CATALOGUE_FILE.read_text())]
    catalogue = Catalogue(products, Throttle(settings.rate_limit, clock))
    registered = servicer(pb_grpc.add_ProductServiceServicer_to_server, ProductServicer(catalogue))
    async with serving(settings, registered, known_tokens=[settings.token.get_secret_value()]) as port:
        yield port


if __name__ == "__main__":
    main(ProductSettings, product)
