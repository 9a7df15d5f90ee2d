"""The whole marketplace in one process, with the HTTP gateway beside it: `python -m services`."""

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.cart.__main__ import CartSettings, cart
from services.chassis.access import check_access
from services.chassis.bus import InProcessTopic
from services.chassis.lifecycle import run_to_exit, stop_on_signal
from services.chassis.listening import answered, listener
from services.chassis.log import Format, configure_logging, get_logger
from services.chassis.settings import (
    HIGHEST_PORT,
    Address,
    DatabaseSettings,
    ServiceSettings,
    Settings,
    StartError,
    load,
)
from services.chassis.tracers import tracer_of
from services.embedded_postgres import Database, embedded_postgres
from services.loms.__main__ import LomsSettings, loms
from services.notifier.__main__ import NotifierSettings, notifier
from services.product.__main__ import ProductSettings, product

S = TypeVar("S", bound=Settings)
V = TypeVar("V", bound=ServiceSettings)
D = TypeVar("D", bound=DatabaseSettings)

SERVICE_HOURS = 24 * 365
GATEWAY_STOP_SECONDS = 2.5

READY = """
  Swagger UI   http://{listen}/
  OpenAPI      http://{listen}/openapi.json
  health       http://{listen}/healthz
  token        {token}

  {access} {lifetime} Ctrl-C stops it.

"""


ACCESS = {
    "off": "Access is off, but for the token of Product.",
    "on": "Access is on: users need a token.",
}
LIFETIMES = {
    "memory": "The data live as long as this process.",
    "postgres": "The data are still there at the next start.",
}


class MarketplaceSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="MARKETPLACE_")

    log_format: Format = "console"
    storage: Literal["memory", "postgres"] = "memory"
    """Where the data live: with postgres in an embedded PostgreSQL, which outlives the process."""
    access: Literal["off", "on"] = "off"
    """Whether callers need tokens. The development key signs them, but for services that have access_keys."""
    access_folder: Path = Path(".data/access")
    """Where that key is."""
    postgres_folder: Path = Path(".data/postgres")
    postgres_port: int = Field(default=5441, ge=1, le=HIGHEST_PORT)


class GatewaySettings(Settings):
    """The part of the gateway's settings that this process needs to know."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    listen: Address = "127.0.0.1:8080"
    side_listen: Address = "127.0.0.1:9105"


@dataclass(frozen=True)
class AllSettings:
    """The settings of every part."""

    marketplace: MarketplaceSettings
    cart: CartSettings
    loms: LomsSettings
    product: ProductSettings
    notifier: NotifierSettings
    gateway: GatewaySettings

    @property
    def services(self) -> list[ServiceSettings]:
        """Those of the services."""
        return [part for part in vars(self).values() if isinstance(part, ServiceSettings)]

    def replaced(self, services: Iterable[ServiceSettings]) -> "AllSettings":
        """With these of the services instead."""
        changed: dict[str, Any] = {each.service: each for each in services}
        return replace(self, **changed)


def load_all() -> AllSettings:
    """All settings from the environment. Raises StartError with a line for every mistake in any of them."""
    mistakes: list[StartError] = []

    def loaded(settings: type[S]) -> S:
        try:
            return load(settings)
        except StartError as error:
            mistakes.append(error)
            return cast("S", settings.model_construct())

    settings = AllSettings(
        marketplace=loaded(MarketplaceSettings),
        cart=loaded(CartSettings),
        loms=loaded(LomsSettings),
        product=loaded(ProductSettings),
        notifier=loaded(NotifierSettings),
        gateway=loaded(GatewaySettings),
    )
    refuse(mistakes)
    return settings


def check_ports(settings: AllSettings, *, with_gateway: bool) -> None:
    """Raises StartError with a line for every address that is taken, be it by another part of the marketplace."""
    parts = [*settings.services, *([settings.gateway] if with_gateway else [])]
    mistakes = []
    with ExitStack() as listeners:
        for part in parts:
            for field in ("listen", "side_listen"):
                try:
                    listeners.enter_context(listener(part, field))
                except StartError as error:
                    mistakes.append(error)
    refuse(mistakes)


def check_files(settings: AllSettings, gateway_program: Path | None) -> None:
    """Raises StartError with a line for every setting whose mistake shows only in what it names, or in the gateway."""
    mistakes: dict[str, StartError] = {}
    for part in settings.services:
        for check in (check_access, lambda checked: tracer_of(checked.service)):
            try:
                check(part)
            except StartError as error:
                mistakes[str(error)] = error
    if gateway_program is not None:
        command: list[str | Path] = [gateway_program, "--check"]
        checked = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  it is our own
        if checked.returncode != 0:
            mistakes["gateway"] = StartError(checked.stderr.removeprefix("cannot start:").strip())
    refuse([*mistakes.values()])


def refuse(mistakes: list[StartError]) -> None:
    """Raises them all as one, if there are any."""
    if mistakes:
        raise StartError("\n".join(map(str, mistakes)))


async def run(gateway_program: Path | None) -> int:
    """Runs until a signal or the end of the gateway; gives the exit code."""
    stop = stop_on_signal()
    settings = load_all()
    configure_logging(settings.marketplace.log_level, settings.marketplace.log_format)
    check_ports(settings, with_gateway=gateway_program is not None)
    check_files(settings, gateway_program)
    async with with_storage(with_access(settings)) as stored, marketplace(stored) as addresses:
        if gateway_program is None:
            await stop.wait()
            return 0
        return await run_gateway(gateway_program, settings, addresses, stop)


def with_access(settings: AllSettings) -> AllSettings:
    """The settings, with the development key where access is on, and a token for the calls of the cart itself."""
    if settings.marketplace.access == "off":
        return settings
    from services.token import signer  # noqa: PLC0415  it takes 0.1 s, and access may be off

    signs = signer(settings.marketplace.access_folder)
    token = SecretStr(signs.of_service("cart", SERVICE_HOURS))
    keyed = settings.replaced(unless_told(service, access_keys=signs.keys) for service in settings.services)
    return keyed.replaced([unless_told(keyed.cart, product_token=token)])


@asynccontextmanager
async def with_storage(settings: AllSettings) -> AsyncIterator[AllSettings]:
    """The settings, with those of the databases if the services share the embedded PostgreSQL."""
    if settings.marketplace.storage == "memory":
        yield settings
        return
    folder, port = settings.marketplace.postgres_folder, settings.marketplace.postgres_port
    async with embedded_postgres(folder, port, port_setting=settings.marketplace.variable("postgres_port")) as embedded:
        stateful = (service for service in settings.services if isinstance(service, DatabaseSettings))
        yield settings.replaced(on_postgres(service, embedded.databases[service.service]) for service in stateful)


def on_postgres(service: D, urls: Database) -> D:
    """The settings of a service that has these URLs, unless it was told of a storage or a database."""
    found = {"database_url": SecretStr(urls.url), "database_direct_url": SecretStr(urls.direct_url)}
    needed = {} if found.keys() & service.model_fields_set else found
    return unless_told(service, storage="postgres", **needed)


def unless_told(service: V, **found: object) -> V:
    """The settings of a service with what was found for those that the environment does not say."""
    missing = found.keys() - service.model_fields_set
    return service.model_copy(update={name: found[name] for name in missing})


@asynccontextmanager
async def marketplace(settings: AllSettings) -> AsyncIterator[dict[str, str]]:
    """The services; gives their addresses. Those that others need come first and go last."""
    order_events = InProcessTopic()
    async with (
        notifier(settings.notifier, order_events) as notifier_port,
        loms(settings.loms, order_events) as loms_port,
        product(settings.product) as product_port,
    ):
        addresses = {
            "notifier": address(settings.notifier, notifier_port),
            "loms": address(settings.loms, loms_port),
            "product": address(settings.product, product_port),
        }
        found = {"loms_address": addresses["loms"], "product_address": addresses["product"]}
        async with cart(unless_told(settings.cart, **found)) as cart_port:
            yield addresses | {"cart": address(settings.cart, cart_port)}


def address(settings: ServiceSettings, port: int) -> str:
    """Where others find a service that listens on this port."""
    return f"{settings.listen.rpartition(':')[0]}:{port}"


async def run_gateway(program: Path, settings: AllSettings, addresses: dict[str, str], stop: asyncio.Event) -> int:
    """Runs the gateway until `stop` is set; gives 0, or what the gateway exits with when it ends by itself."""
    environment = {
        "GATEWAY_LOG_FORMAT": settings.marketplace.log_format,
        "GATEWAY_LOG_LEVEL": settings.marketplace.log_level,
        "GATEWAY_ACCESS": settings.marketplace.access,
        **{f"GATEWAY_{service.upper()}_ADDRESS": found for service, found in addresses.items()},
        **os.environ,
        "GATEWAY_EXIT_WITH_PARENT": "1",
    }
    process = await asyncio.create_subprocess_exec(program, stdin=asyncio.subprocess.PIPE, env=environment)
    ended = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(stop.wait())
    announced = asyncio.create_task(announce(settings))
    await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
    announced.cancel()
    if not stop.is_set():
        stopped.cancel()
        get_logger("marketplace").error("the gateway has ended by itself", code=ended.result())
        return ended.result() or 1
    if not ended.done():
        process.terminate()
    try:
        await asyncio.wait_for(asyncio.shield(ended), GATEWAY_STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await ended
    return 0


async def announce(settings: AllSettings) -> None:
    """Tells the user where to look, as soon as somebody answers there."""
    listen = settings.gateway.listen
    await answered(listen)
    facts = {"access": ACCESS[settings.marketplace.access], "lifetime": LIFETIMES[settings.marketplace.storage]}
    sys.stdout.write(READY.format(listen=listen, token=hint(settings), **facts))
    sys.stdout.flush()


def hint(settings: AllSettings) -> str:
    """Which token to give to Swagger UI, after a press on Authorize."""
    if settings.marketplace.access == "on":
        return "make token USER=1 prints one for Swagger UI: press Authorize there"
    return f"{settings.product.token.get_secret_value()} (for Product: press Authorize in Swagger UI)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services", description=__doc__)
    parser.add_argument("--gateway", type=Path, help="the gateway program to start beside the services")
    arguments = parser.parse_args()
    if arguments.gateway and not arguments.gateway.is_file():
        parser.error(f"{arguments.gateway} is missing: run `make setup`")
    run_to_exit(run(arguments.gateway))


if __name__ == "__main__":
    main()
