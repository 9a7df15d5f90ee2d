"""Waiting for a condition instead of sleeping."""

import asyncio
import time
from collections.abc import Awaitable, Callable

WAIT_SECONDS = 20
POLL_SECONDS = 0.01


def wait_until(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Waits until it holds; fails when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(POLL_SECONDS)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = WAIT_SECONDS) -> None:
    """As wait_until, while other tasks go on."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(POLL_SECONDS)
