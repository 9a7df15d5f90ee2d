"""Calls that start as a shared rate limiter lets them: `python -m tests.cache.starts URL REPLICAS SECONDS`.

Prints when they have started, on a clock that all processes of the machine share.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count

import uvloop

from services.chassis.contract import Rate
from services.chassis.log import configure_logging, get_logger
from services.chassis.redis_shards import redis_shards
from services.chassis.shared_rate_limiter import SharedRateLimiter

RATE = Rate(per_second=10, burst=10, is_shared=True)
CALLERS = 20
IMPATIENCE_SECONDS = 0.2


async def starts(url: str, replicas: int, seconds: float) -> list[float]:
    """When calls start that so many callers make one after the other. Every fifth gives up soon."""
    found: list[float] = []
    numbers = count(1)
    stop = time.monotonic() + seconds

    async def caller(limiter: SharedRateLimiter) -> None:
        while True:
            is_impatient = next(numbers) % 5 == 0
            with suppress(TimeoutError):
                async with asyncio.timeout(IMPATIENCE_SECONDS if is_impatient else None):
                    await limiter.turn()
                    found.append(time.monotonic())

    async with redis_shards([url], get_logger("tested")) as shards:
        limiter = SharedRateLimiter(shards.all[0], "calls", RATE, replicas, get_logger("tested"))
        callers = [asyncio.create_task(caller(limiter)) for _ in range(CALLERS)]
        await asyncio.sleep(stop - time.monotonic())
        for each in callers:
            each.cancel()
        await asyncio.wait(callers)
    return found


def most_in_a_window(times: Sequence[float], seconds: float) -> int:
    """How many there are in the fullest window of that length."""
    return max(sum(begin <= at < begin + seconds for at in times) for begin in times)


if __name__ == "__main__":
    configure_logging("error", "json")
    sys.stdout.write(json.dumps(uvloop.run(starts(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))))
