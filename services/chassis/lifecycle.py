"""The life of a process: settings, signals, service, end."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, NoReturn, TypeVar

import uvloop

from services.chassis.contract import ContractError
from services.chassis.log import configure_logging, log_errors_of_loop
from services.chassis.settings import ServiceSettings, StartError, fail, load
from services.chassis.tracers import close_tracers

S = TypeVar("S", bound=ServiceSettings)


def stop_on_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. Ask for it before anything else, or an early signal kills."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def run_to_exit(program: Coroutine[Any, Any, int]) -> NoReturn:
    """Runs a program and exits with what it gives, or with 2 when it cannot start."""
    try:
        code = uvloop.run(_logged(program))
    except (StartError, ContractError) as error:
        code = fail(error)
    finally:
        close_tracers()
    sys.exit(code)


async def _logged(program: Coroutine[Any, Any, int]) -> int:
    asyncio.get_running_loop().set_exception_handler(log_errors_of_loop)
    return await program


def let_threads_finish() -> None:
    """Has Linux not take the CPU from a thread of this process because another one of it wakes up.

    gRPC wakes its poller for each event of a call, five times, and each time the event loop was stopped for it: a call
    needs a tenth less CPU without that.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):  # where that is forbidden, calls need more
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def main(settings_type: type[S], service: Callable[[S], AbstractAsyncContextManager[object]]) -> None:
    """Runs a service until it is told to stop, and exits: 0, or 2 when it cannot start."""

    async def run() -> int:
        stop = stop_on_signal()
        settings = load(settings_type)
        configure_logging(settings.log_level, settings.log_format)
        async with service(settings):
            await stop.wait()
        return 0

    let_threads_finish()
    run_to_exit(run())
