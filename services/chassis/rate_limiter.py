"""Lets calls start no faster than a rate.

    limiter = RateLimiter(per_second=10, burst=10)
    await limiter.turn()  # and then the call starts

It limits starts per time, not how many calls run at once. What each guarantee relies on:

- never more than `burst` starts in any window of `burst / per_second` seconds: the last
  `burst` starts are remembered, and the next one waits until the oldest is a window old;
- fair: whoever waits stands in the queue of an asyncio.Lock, which serves in the order of
  arrival. Only the first of the queue, who holds the lock, looks at the starts;
- who gives up (a deadline, a caller that is gone) is cancelled and leaves the queue, and its
  turn goes to the next: a start is remembered when it happens, not when it is promised.
"""

import asyncio
from collections import deque
from typing import Protocol

from services.chassis.contract import Rate

JOURNEY_SECONDS = 0.1
"""How much faster than the one before a call may reach its server: so much longer is a window."""


class Turns(Protocol):
    """Who says when a call may start."""

    async def turn(self) -> None:
        """Waits until the call that asks may start."""
        ...


class RateLimiter:
    """Gives turns to start, so many a second, and so many at once after a pause."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._window = burst / per_second + JOURNEY_SECONDS
        self._starts: deque[float] = deque(maxlen=burst)
        self._queue = asyncio.Lock()

    async def turn(self) -> None:
        clock = asyncio.get_running_loop().time
        async with self._queue:
            if len(self._starts) == self._starts.maxlen:
                await asyncio.sleep(self._starts[0] + self._window - clock())
            self._starts.append(clock())


def own_share(rate: Rate, replicas: int) -> RateLimiter:
    """The limiter of a process that shares a rate with replicas of which it knows only how many they are."""
    burst = share_of(rate, replicas) if rate.is_shared else rate.burst
    return RateLimiter(burst * rate.per_second / rate.burst, burst)


def share_of(rate: Rate, replicas: int) -> int:
    """How many of the starts in a window each replica has: one at least, however many they are."""
    return max(1, rate.burst // replicas)
