"""Lets the calls of all replicas together start no faster than a rate.

    limiter = SharedRateLimiter(shard, "GetProduct", Rate(per_second=10, burst=10, is_shared=True), replicas=3)
    await limiter.turn()  # and then the call starts

Redis keeps the last `burst` starts, gives out the next one and says how long it is until then. What
each guarantee relies on:

- never more than `burst` starts in any window of `burst / per_second` seconds: one script, of which
  Redis runs one at a time, gives out each start, by the clock of Redis, a window after the one
  `burst` before it. A process that comes too late for its start asks for another one. A Redis
  that has just started has forgotten the starts, and waits for a window before the first;
- fair within a process: who waits stands in the queue of an asyncio.Lock, whose first asks Redis;
- who gives up leaves the start that it was given to the next in the queue;
- without Redis the sum is not above the rate either: each process has its share of the starts. A
  change from one to the other takes until the starts of all others are a window old. (While only
  some processes have lost Redis, or have noticed that they had, their shares come on top.)
"""

import asyncio
import math
from collections import deque

from services.chassis.contract import Rate
from services.chassis.log import Logger
from services.chassis.rate_limiter import JOURNEY_SECONDS, share_of
from services.chassis.redis_shards import ANSWER_SECONDS, RETRY_SECONDS, Shard, ShardError

LATE_SECONDS = 0.03
"""How late for its start a process may be: so much longer is a window."""
LOOK_SECONDS = RETRY_SECONDS + ANSWER_SECONDS
"""How long after Redis is back all processes know."""

GIVE_A_START = """
local burst, window, change = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('LINDEX', KEYS[1], -1))
local oldest = tonumber(redis.call('LINDEX', KEYS[1], -burst))
local start = math.max(now, last or now, oldest and oldest + window or now)
if not last then
  local uptime = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
  if (uptime - 1) * 1000000 <= change then start = now + change end
elseif last > now + 60000000 then -- the clock was set back
  redis.call('DEL', KEYS[1])
  start = now + change
end
redis.call('RPUSH', KEYS[1], string.format('%.0f', start))
redis.call('LTRIM', KEYS[1], -burst, -1)
redis.call('PEXPIRE', KEYS[1], 120000)
return start - now
"""
"""Times are in microseconds."""


class SharedRateLimiter:
    """Gives turns to start, so many a second in all processes, and so many at once after a pause."""

    def __init__(self, shard: Shard, name: str, rate: Rate, replicas: int, log: Logger) -> None:
        self._shard = shard
        self._log = log
        self._window = rate.burst / rate.per_second + JOURNEY_SECONDS + LATE_SECONDS
        self._own_starts: deque[float] = deque(maxlen=share_of(rate, replicas))
        """Those without Redis."""
        ahead = math.ceil((replicas - 1) / rate.burst) * self._window
        self._change_seconds = self._window + (max(ahead, LOOK_SECONDS) if replicas > 1 else 0.0)
        """How long nobody starts after a change."""
        self._give = ("EVAL", GIVE_A_START, 1, f"rate/{name}/{rate.per_second}/{rate.burst}", rate.burst)
        self._times = (_microseconds(self._window), _microseconds(self._change_seconds))
        self._not_before = 0.0
        self._given: tuple[float, float] | None = None
        """From when to when this process may use the start that Redis has given to it."""
        self._is_alone = False
        self._queue = asyncio.Lock()
        self._now = asyncio.get_running_loop().time

    async def turn(self) -> None:
        """Waits until the call that asks may start."""
        async with self._queue:
            while not await (self._start_alone() if self._is_alone else self._start_with_others()):
                pass

    async def _start_with_others(self) -> bool:
        """Whether it has come to a start."""
        await self._sleep_until(self._not_before)
        if self._given is None:
            asked_at = self._now()
            try:
                wait = await self._shard.execute(*self._give, *self._times) / 1_000_000
            except ShardError:
                self._changes(is_alone=True)
                return False
            self._given = self._now() + wait, asked_at + wait + LATE_SECONDS
        start, latest = self._given
        await self._sleep_until(start)
        self._given = None
        return self._now() <= latest

    async def _start_alone(self) -> bool:
        """Whether it has come to a start."""
        at = self._not_before
        if len(self._own_starts) == self._own_starts.maxlen:
            at = max(at, self._own_starts[0] + self._window)
        await self._sleep_until(min(at, self._now() + RETRY_SECONDS))
        try:
            await self._shard.execute("PING")
        except ShardError:
            if self._now() < at:
                return False
            self._own_starts.append(self._now())
            return True
        self._changes(is_alone=False)
        return False

    def _changes(self, *, is_alone: bool) -> None:
        self._is_alone = is_alone
        self._not_before = self._now() + self._change_seconds
        self._given = None
        if is_alone:
            self._log.warning("rate limit without Redis", shard=self._shard.name, share=self._own_starts.maxlen)
        else:
            self._log.info("rate limit with Redis", shard=self._shard.name)

    async def _sleep_until(self, moment: float) -> None:
        if moment > self._now():
            await asyncio.sleep(moment - self._now())


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
