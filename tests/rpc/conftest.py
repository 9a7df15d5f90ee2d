"""The services as they are shipped, on free ports of the test process, and stubs to call them."""

from collections.abc import AsyncIterator

import grpc
import pytest
from marketplace.cart.v1.cart_pb2_grpc import CartServiceStub
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub
from marketplace.notifier.v1.notifier_pb2_grpc import NotifierServiceStub
from marketplace.product.v1.product_pb2_grpc import ProductServiceStub

from services.cart.__main__ import cart
from services.chassis.bus import InProcessTopic
from services.loms.__main__ import loms
from services.notifier.__main__ import notifier
from services.product.__main__ import product
from tests.clock import FakeClock
from tests.marketplace import UNLIMITED
from tests.settings import FREE, CartSettings, LomsSettings, NotifierSettings, ProductSettings


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def order_events() -> InProcessTopic:
    return InProcessTopic()


@pytest.fixture
async def notifier_stub(order_events: InProcessTopic) -> AsyncIterator[NotifierServiceStub]:
    async with (
        notifier(NotifierSettings(listen=FREE, side_listen=FREE), order_events) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield NotifierServiceStub(channel)


@pytest.fixture
async def loms_port(order_events: InProcessTopic, clock: FakeClock) -> AsyncIterator[int]:
    settings = LomsSettings(
        listen=FREE, side_listen=FREE, expiry_interval_seconds=0.01, relay_interval_seconds=0.01, drain_seconds=1
    )
    async with loms(settings, order_events, clock) as port:
        yield port


@pytest.fixture
async def loms_stub(loms_port: int) -> AsyncIterator[LomsServiceStub]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{loms_port}") as channel:
        yield LomsServiceStub(channel)


@pytest.fixture
async def product_port(clock: FakeClock) -> AsyncIterator[int]:
    async with product(ProductSettings(listen=FREE, side_listen=FREE, rate_limit=300), clock) as port:
        yield port


@pytest.fixture
async def product_stub(product_port: int) -> AsyncIterator[ProductServiceStub]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{product_port}") as channel:
        yield ProductServiceStub(channel)


@pytest.fixture
async def cart_stub(loms_port: int, product_port: int) -> AsyncIterator[CartServiceStub]:
    settings = CartSettings(
        listen=FREE,
        side_listen=FREE,
        loms_address=f"127.0.0.1:{loms_port}",
        product_address=f"127.0.0.1:{product_port}",
        product_rate_limit=UNLIMITED,
    )
    async with cart(settings) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield CartServiceStub(channel)
