"""mTLS between services: who may call, who is called, and what happens when certificates are replaced."""

import asyncio
import itertools
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from marketplace.cart.v1 import cart_pb2
from marketplace.cart.v1.cart_pb2_grpc import CartServiceStub
from marketplace.loms.v1 import loms_pb2
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub

from services import certificates
from services.cart.__main__ import cart
from services.chassis import tls
from services.chassis.bus import InProcessTopic
from services.chassis.client import client
from services.chassis.errors import UnavailableError
from services.chassis.tls import tls_of
from services.loms.__main__ import loms
from services.product.__main__ import product
from tests.marketplace import UNLIMITED
from tests.settings import FREE, CartSettings, LomsSettings, ProductSettings
from tests.waiting import until

SKU = 1076963
STOCK = loms_pb2.StocksInfoRequest(sku=SKU)
HEALTH = health_pb2.HealthCheckRequest()
EXPIRED = timedelta(days=-1)
CANARY = "s3cr3t-canary"

Files = dict[str, Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Certificates for all services."""
    certificates.renew(tmp_path / "certificates")
    return tmp_path / "certificates"


def files_of(folder: Path, service: str) -> Files:
    """The settings of TLS of a service."""
    return {
        "tls_certificate": folder / f"{service}.pem",
        "tls_key": folder / f"{service}.key",
        "tls_authority": folder / "authority.pem",
    }


def loms_settings(files: Files, listen: str = FREE) -> LomsSettings:
    return LomsSettings(listen=listen, side_listen=FREE, drain_seconds=1).model_copy(update=files)


def cart_settings(files: Files, loms_port: int = 1, product_port: int = 1) -> CartSettings:
    settings = CartSettings(
        listen=FREE,
        side_listen=FREE,
        loms_address=f"127.0.0.1:{loms_port}",
        product_address=f"127.0.0.1:{product_port}",
        product_rate_limit=UNLIMITED,
    )
    return settings.model_copy(update=files)


@pytest.fixture
async def loms_port(folder: Path) -> AsyncIterator[int]:
    async with loms(loms_settings(files_of(folder, "loms")), InProcessTopic()) as port:
        yield port


@pytest.fixture
async def product_port(folder: Path) -> AsyncIterator[int]:
    settings = ProductSettings(listen=FREE, side_listen=FREE)
    async with product(settings.model_copy(update=files_of(folder, "product"))) as port:
        yield port


@pytest.fixture
async def cart_port(folder: Path, loms_port: int, product_port: int) -> AsyncIterator[int]:
    async with cart(cart_settings(files_of(folder, "cart"), loms_port, product_port)) as port:
        yield port


def credentials(folder: Path, caller: str = "gateway", authority: str = "authority") -> grpc.ChannelCredentials:
    """Those with which somebody calls services."""
    certificate, key = (folder / f"{caller}.pem").read_bytes(), (folder / f"{caller}.key").read_bytes()
    return grpc.ssl_channel_credentials((folder / f"{authority}.pem").read_bytes(), key, certificate)


def channel_to(port: int, service: str, shown: grpc.ChannelCredentials) -> grpc.aio.Channel:
    options = [("grpc.default_authority", service)]
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", shown, options=options)


async def asks_for_stock(channel: grpc.aio.Channel) -> int:
    async with channel:
        answer = await LomsServiceStub(channel).StocksInfo(STOCK, timeout=5)
    return answer.count


def add(user: int) -> cart_pb2.ItemAddRequest:
    return cart_pb2.ItemAddRequest(user_id=user, sku=SKU, count=1)


async def test_services_with_certificates_call_each_other(folder: Path, cart_port: int) -> None:
    async with channel_to(cart_port, "cart", credentials(folder)) as channel:
        stub = CartServiceStub(channel)
        await stub.ItemAdd(add(user=1))
        listed = await stub.List(cart_pb2.ListRequest(user_id=1))
        ordered = await stub.Checkout(cart_pb2.CheckoutRequest(user_id=1))

    assert [item.price for item in listed.items] == [3379]
    assert ordered.order_id == 1


async def test_health_and_reflection_are_behind_the_same_door(folder: Path, loms_port: int) -> None:
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    async with channel_to(loms_port, "loms", credentials(folder)) as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(HEALTH)
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([question]))
        reflected = await call.read()
        call.cancel()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{loms_port}") as plain:
        with pytest.raises(grpc.aio.AioRpcError):
            await health_pb2_grpc.HealthStub(plain).Check(HEALTH, timeout=5)

    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert "marketplace.loms.v1.LomsService" in {one.name for one in reflected.list_services_response.service}


def plaintext(_folder: Path, port: int) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}")


def without_a_certificate(folder: Path, port: int) -> grpc.aio.Channel:
    return channel_to(port, "loms", grpc.ssl_channel_credentials((folder / "authority.pem").read_bytes()))


def of_another_authority(folder: Path, port: int) -> grpc.aio.Channel:
    certificates.issue(certificates.authority(), "stranger").write(folder, "stranger")
    return channel_to(port, "loms", credentials(folder, "stranger"))


def expired(folder: Path, port: int) -> grpc.aio.Channel:
    signer = certificates.read(folder, "authority")
    assert signer is not None
    certificates.issue(signer, "late", EXPIRED).write(folder, "late")
    return channel_to(port, "loms", credentials(folder, "late"))


@pytest.mark.parametrize("caller", [plaintext, without_a_certificate, of_another_authority, expired])
async def test_who_does_not_show_a_valid_certificate_is_refused(
    caller: Callable[[Path, int], grpc.aio.Channel], folder: Path, loms_port: int
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asks_for_stock(caller(folder, loms_port))

    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert await asks_for_stock(channel_to(loms_port, "loms", credentials(folder))) > 0


@asynccontextmanager
async def called_as(service: str, address: str, files: Files) -> AsyncIterator[LomsServiceStub]:
    async with client(LomsServiceStub, address, service, tls=tls_of(cart_settings(files))) as stub:
        yield stub


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_server_whose_certificate_names_another_service_is_not_called(replicas: int, folder: Path) -> None:
    settings = loms_settings(files_of(folder, "product"))
    async with loms(settings, InProcessTopic()) as one, loms(settings, InProcessTopic()) as other:
        address = ",".join(f"127.0.0.1:{port}" for port in (one, other)[:replicas])
        async with called_as("loms", address, files_of(folder, "cart")) as stub:
            with pytest.raises(UnavailableError):
                await stub.StocksInfo(STOCK)
        async with called_as("product", address, files_of(folder, "cart")) as stub:
            assert (await stub.StocksInfo(STOCK)).count > 0


async def test_a_server_of_another_authority_is_not_called(folder: Path, tmp_path: Path, loms_port: int) -> None:
    certificates.renew(tmp_path / "others")
    files = files_of(folder, "cart")
    distrustful = files | {"tls_authority": tmp_path / "others" / "authority.pem"}
    async with called_as("loms", f"127.0.0.1:{loms_port}", distrustful) as stub:
        with pytest.raises(UnavailableError):
            await stub.StocksInfo(STOCK)
    async with called_as("loms", f"127.0.0.1:{loms_port}", files) as stub:
        assert (await stub.StocksInfo(STOCK)).count > 0


def version_spoken(folder: Path, port: int, version: ssl.TLSVersion) -> str | None:
    """What a client that knows this version only agrees on with the server; None if it is refused."""
    context = ssl.create_default_context(cafile=folder / "authority.pem")
    context.load_cert_chain(folder / "gateway.pem", folder / "gateway.key")
    context.set_alpn_protocols(["h2"])
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # OpenSSL itself would not speak TLS 1.1
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", port)) as connection:
        try:
            with context.wrap_socket(connection, server_hostname="loms") as secured:
                return secured.version()
        except ssl.SSLError:
            return None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_tls_is_of_version_1_2_or_newer(folder: Path, loms_port: int) -> None:
    versions = (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    spoken = [await asyncio.to_thread(version_spoken, folder, loms_port, version) for version in versions]

    assert spoken == [None, "TLSv1.2", "TLSv1.3"]


class Customers:
    """They begin carts without a pause, over a connection that lasts."""

    def __init__(self, stub: CartServiceStub) -> None:
        self._stub = stub
        self.served = 0
        self.failed: list[str] = []

    async def go_on(self) -> None:
        for user in itertools.count(1):
            await self._add(user)

    async def _add(self, user: int) -> None:
        try:
            await self._stub.ItemAdd(add(user))
            self.served += 1
        except grpc.aio.AioRpcError as error:
            self.failed.append(f"{error.code()} {error.details()}")

    async def more_are_served(self) -> None:
        goal = self.served + len(self.failed) + 50

        async def is_reached() -> bool:
            return self.served + len(self.failed) >= goal

        await until(is_reached)

    async def is_served_again(self) -> bool:
        before = len(self.failed)
        await self._add(user=1)
        return len(self.failed) == before


async def test_certificates_that_are_replaced_are_taken_up_and_no_call_fails(
    folder: Path, product_port: int, monkeypatch: pytest.MonkeyPatch, logs: list[dict[str, object]]
) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.05)
    of_cart, of_loms = files_of(folder, "cart"), files_of(folder, "loms")
    async with AsyncExitStack() as before_the_restart:
        port = await before_the_restart.enter_async_context(loms(loms_settings(of_loms), InProcessTopic()))
        async with (
            cart(cart_settings(of_cart, port, product_port)) as cart_port,
            channel_to(cart_port, "cart", credentials(folder)) as channel,
        ):
            customers = Customers(CartServiceStub(channel))
            load = asyncio.create_task(customers.go_on())
            await customers.more_are_served()
            put_certificates_of_another_authority(folder)
            await until(lambda: is_taken_up(logs))
            await customers.more_are_served()
            load.cancel()
            await asyncio.wait([load])
            assert customers.failed == []

            assert await asks_for_stock(channel_to(port, "loms", credentials(folder))) > 0
            await before_the_restart.aclose()
            async with loms(loms_settings(of_loms, f"127.0.0.1:{port}"), InProcessTopic()):
                await until(customers.is_served_again)


def put_certificates_of_another_authority(folder: Path) -> None:
    (folder / "authority.pem").unlink()
    assert len(certificates.renew(folder)) == 1 + len(certificates.SERVICES)


async def is_taken_up(logs: list[dict[str, object]]) -> bool:
    """Whether the cart calls both services with its new certificate."""
    return sum(line["service"] == "cart" and line.get("used_by") == "client" for line in logs) == 2


@pytest.mark.parametrize("damaged", ["loms.pem", "loms.key", "authority.pem"])
async def test_what_cannot_be_used_is_logged_and_the_former_certificates_stay(
    damaged: str, folder: Path, loms_port: int, logs: list[dict[str, object]]
) -> None:
    caller = credentials(folder)
    (folder / damaged).write_text(f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n")

    assert await asks_for_stock(channel_to(loms_port, "loms", caller)) > 0
    assert [line["service"] for line in logs if line["event"] == "new certificates cannot be used"] == ["loms"]
    assert CANARY not in str(logs)


async def test_a_client_keeps_its_certificates_until_the_new_ones_lead_to_a_connection(
    folder: Path, tmp_path: Path, loms_port: int, monkeypatch: pytest.MonkeyPatch, logs: list[dict[str, object]]
) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(tls, "CONNECT_SECONDS", 0.2)
    certificates.renew(tmp_path / "others")
    shutil.copytree(folder, tmp_path / "cart")

    async def it_has_failed() -> bool:
        return any(line["event"] == "new certificates lead to no connection" for line in logs)

    async with called_as("loms", f"127.0.0.1:{loms_port}", files_of(tmp_path / "cart", "cart")) as stub:
        await stub.StocksInfo(STOCK)
        shutil.copytree(tmp_path / "others", tmp_path / "cart", dirs_exist_ok=True)
        await until(it_has_failed)
        assert (await stub.StocksInfo(STOCK)).count > 0
