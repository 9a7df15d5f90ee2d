"""The life of a process: settings, signals, service, end."""

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import uvloop

from services.chassis.log import configure_logging
from services.chassis.settings import ServiceSettings, StartError, fail, load

S = TypeVar("S", bound=ServiceSettings)


def stop_on_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. Ask for it before anything else, or an early signal kills."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def main(settings_type: type[S], service: Callable[[S], AbstractAsyncContextManager[object]]) -> None:
    """Runs a service until it is told to stop, and exits: 0, or 2 when it cannot start."""

    async def run() -> None:
        stop = stop_on_signal()
        settings = load(settings_type)
        configure_logging(settings.log_level, settings.log_format)
        async with service(settings):
            await stop.wait()

    try:
        uvloop.run(run())
    except StartError as error:
        sys.exit(fail(error))
