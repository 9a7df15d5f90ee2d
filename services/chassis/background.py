"""Background loops have an owner and an end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from services.chassis.errors import AppError
from services.chassis.log import Logger

Loop = Callable[[], Awaitable[object]]


@asynccontextmanager
async def background(*loops: Loop) -> AsyncIterator[None]:
    """Runs the loops beside the block and cancels them when it ends.

    What a loop dies of cancels the block and is raised from it: a service does not
    live on with half of its duties. What the block raises is raised as it is.
    """

    async def run(loop: Loop) -> None:
        await loop()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(loop)) for loop in loops]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) > 1:
            raise
        raise errors.exceptions[0] from errors.exceptions[0].__cause__


def every(seconds: float, action: Loop, log: Logger) -> Loop:
    """A loop that does something now and then again and again, `seconds` after it was done.

    A failure is logged and does not end the loop.
    """
    name = getattr(action, "__qualname__", repr(action))

    async def loop() -> None:
        while True:
            try:
                await action()
            except AppError as error:
                log.warning("background action failed", action=name, error=error.message)
            except Exception:
                log.exception("background action failed", action=name)
            await asyncio.sleep(seconds)

    return loop
