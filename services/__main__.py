"""The whole marketplace in one process, in memory, with the HTTP gateway beside it: `python -m services`."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic_settings import SettingsConfigDict

from services.cart.__main__ import CartSettings, cart
from services.chassis.bus import InProcessTopic
from services.chassis.lifecycle import run_to_exit, stop_on_signal
from services.chassis.listening import bound
from services.chassis.log import Format, configure_logging, get_logger
from services.chassis.settings import Address, Settings, StartError, load
from services.loms.__main__ import LomsSettings, loms
from services.notifier.__main__ import NotifierSettings, notifier
from services.product.__main__ import ProductSettings, product

GATEWAY_STOP_SECONDS = 2.5
POLL_SECONDS = 0.02

READY = """
  Swagger UI   http://{listen}/
  OpenAPI      http://{listen}/openapi.json
  health       http://{listen}/healthz
  token        {token} (for Product: press Authorize in Swagger UI)

  Access is off, but for the token of Product. The data live as long as this process. Ctrl-C stops it.

"""


class MarketplaceSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="MARKETPLACE_")

    log_format: Format = "console"


class GatewaySettings(Settings):
    """The part of the gateway's settings that this process needs to know."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    listen: Address = "127.0.0.1:8080"
    side_listen: Address = "127.0.0.1:9105"


async def run(gateway_program: Path | None) -> int:
    """Runs until a signal or the end of the gateway; gives the exit code."""
    stop = stop_on_signal()
    check_settings()
    settings = load(MarketplaceSettings)
    configure_logging(settings.log_level, settings.log_format)
    if gateway_program is not None:
        for field in ("listen", "side_listen"):  # or `announce` might find a stranger there
            bound(load(GatewaySettings), field).close()
    async with marketplace():
        if gateway_program is None:
            await stop.wait()
            return 0
        return await run_gateway(gateway_program, settings.log_format, stop)


def check_settings() -> None:
    """Raises StartError with a line for every mistake in the settings of any part."""
    mistakes = []
    for settings in (
        MarketplaceSettings, CartSettings, LomsSettings, ProductSettings, NotifierSettings, GatewaySettings
    ):  # fmt: skip
        try:
            load(settings)
        except StartError as error:
            mistakes.append(str(error))
    if mistakes:
        raise StartError("\n".join(mistakes))


@asynccontextmanager
async def marketplace() -> AsyncIterator[None]:
    """The four services. Those that others need come first and go last."""
    notifier_settings, loms_settings = load(NotifierSettings), load(LomsSettings)
    product_settings, cart_settings = load(ProductSettings), load(CartSettings)
    order_events = InProcessTopic()
    async with (
        notifier(notifier_settings, order_events),
        loms(loms_settings, order_events),
        product(product_settings),
        cart(cart_settings),
    ):
        yield


async def run_gateway(program: Path, log_format: Format, stop: asyncio.Event) -> int:
    """Runs the gateway until `stop` is set; gives 0, or what the gateway exits with when it ends by itself."""
    environment = {"GATEWAY_LOG_FORMAT": log_format, **os.environ, "GATEWAY_EXIT_WITH_PARENT": "1"}
    process = await asyncio.create_subprocess_exec(program, stdin=asyncio.subprocess.PIPE, env=environment)
    ended = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(stop.wait())
    announced = asyncio.create_task(announce(load(GatewaySettings).listen))
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


async def announce(listen: str) -> None:
    """Tells the user where to look, as soon as somebody answers there."""
    host, _, port = listen.rpartition(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(POLL_SECONDS)
            continue
        writer.close()
        token = load(ProductSettings).token.get_secret_value()
        sys.stdout.write(READY.format(listen=listen, token=token))
        sys.stdout.flush()
        return


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services", description=__doc__)
    parser.add_argument("--gateway", type=Path, help="the gateway program to start beside the services")
    arguments = parser.parse_args()
    if arguments.gateway and not arguments.gateway.is_file():
        parser.error(f"{arguments.gateway} is missing: run `make setup`")
    run_to_exit(run(arguments.gateway))


if __name__ == "__main__":
    main()
