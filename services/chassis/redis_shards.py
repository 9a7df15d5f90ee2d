"""Values spread over several Redis.

    async with redis_shards(["redis://10.0.0.1:6379", "redis://10.0.0.2:6379"], log) as shards:
        await shards.write("name", b"value", seconds=60)

What each guarantee relies on:

- no answer is given to another command: a caller that is cancelled leaves its command alone, and
  a command that is given up for its time takes its connection with it;
- a shard that does not answer costs a call ANSWER_SECONDS at most, and is then left alone for
  RETRY_SECONDS: who comes meanwhile, or has waited for a connection, is refused at once;
- a shard is not blamed for a process that is late itself: the time for an answer is made of
  TICKS short waits, so that the event loop has the turns that it needs to connect and to read.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.chassis.cache import LocalStore
from services.chassis.call import current_span
from services.chassis.hashing import Rendezvous
from services.chassis.log import Logger
from services.chassis.metrics import CACHE_ERRORS, REDIS_CLIENT_DURATION, Durations, Timed
from services.chassis.redis_urls import shard_name

ANSWER_SECONDS = 0.016
"""How long a shard may take to answer, the time to connect included."""
TICKS = 8
RETRY_SECONDS = 1.0
"""How long a shard that has failed is left alone."""
CONNECTIONS = 8
"""How many commands a shard is given at once."""


class ShardError(Exception):
    """A shard has not answered, or did not a moment ago, or refuses the command."""


class Shard:
    """One Redis."""

    def __init__(self, url: str, log: Logger, number: int = 0) -> None:
        self.name = shard_name(url)
        self._number = str(number)
        self._durations: dict[str, Durations] = {}
        self._log = log
        self._redis: Any = Redis.from_url(
            url,
            protocol=2,
            driver_info=None,
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            max_connections=CONNECTIONS,
        )
        self._connections = asyncio.Semaphore(CONNECTIONS)
        self._running: set[asyncio.Task[Any]] = set()
        self._left_alone_until = 0.0
        self._is_down = False

    async def execute(self, *command: str | bytes | float) -> Any:
        """What Redis answers to a command, which goes on when its caller is cancelled. Raises ShardError."""
        self._check_whether_left_alone()
        task = asyncio.create_task(self._on_a_connection(command))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Waits for the commands whose callers are gone, and lets go of the connections."""
        while self._running:
            await asyncio.wait(self._running)
        await self._redis.aclose()

    async def _on_a_connection(self, command: Sequence[str | bytes | float]) -> Any:
        async with self._connections:
            self._check_whether_left_alone()
            try:
                with self._observed(str(command[0])):
                    answer = await _answered(asyncio.ensure_future(self._redis.execute_command(*command)))
            except (RedisConnectionError, RedisTimeoutError, OSError) as error:
                self._leave_alone(error)
                raise ShardError(f"{self.name} does not answer") from error
            except RedisError as error:
                raise ShardError(f"{self.name} refuses {command[0]!s}") from error
        self._is_back()
        return answer

    def _observed(self, command: str) -> AbstractContextManager[None]:
        if command not in self._durations:
            self._durations[command] = Durations(REDIS_CLIENT_DURATION, self._number, command)
        current = current_span()
        span = current.child(command, "client", {"db.system": "redis", "db.operation": command}) if current else None
        return Timed(self._durations[command], span)

    def _check_whether_left_alone(self) -> None:
        if asyncio.get_running_loop().time() < self._left_alone_until:
            raise ShardError(f"{self.name} is left alone")

    def _leave_alone(self, error: Exception) -> None:
        self._left_alone_until = asyncio.get_running_loop().time() + RETRY_SECONDS
        if not self._is_down:
            self._is_down = True
            self._log.warning("shard is down", shard=self.name, error=type(error).__name__)

    def _is_back(self) -> None:
        if self._is_down:
            self._is_down = False
            self._log.info("shard is back", shard=self.name)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it is told; if nobody does any more, it is nobody's business


async def _answered(command: "asyncio.Future[Any]") -> Any:
    """What the command gives in time. Raises TimeoutError, and then redis-py has dropped the connection."""
    for _ in range(TICKS):
        await asyncio.wait([command], timeout=ANSWER_SECONDS / TICKS)
        if command.done():
            return command.result()
    command.cancel()
    await asyncio.wait([command])
    if command.cancelled():
        raise TimeoutError
    return command.result()


class RedisShards:
    """Names and their values, each on one of the shards. A shard that is down costs its values only, and
    those once: what is written meanwhile is kept in the memory of the process.
    """

    def __init__(self, shards: Iterable[Shard]) -> None:
        self.all = tuple(shards)
        self.errors = 0
        self._meanwhile = LocalStore()
        self._by_name = {shard.name: shard for shard in self.all}
        self._placed = Rendezvous(self._by_name)

    def shard_of(self, name: str) -> Shard:
        """The shard on which a name lives."""
        return self._by_name[self._placed.node(name)]

    async def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """The values that there are, with one command for each shard."""
        by_shard: dict[Shard, list[str]] = defaultdict(list)
        for name in names:
            by_shard[self.shard_of(name)].append(name)
        found = await asyncio.gather(*(self._read(shard, own) for shard, own in by_shard.items()))
        return {name: value for values in found for name, value in values.items()}

    async def write(self, name: str, value: bytes, seconds: float) -> None:
        """Keeps the value for so long."""
        try:
            await self.shard_of(name).execute("SET", name, value, "PX", round(seconds * 1000))
        except ShardError:
            self._count_errors(1)
            await self._meanwhile.write(name, value, seconds)

    async def _read(self, shard: Shard, names: Sequence[str]) -> dict[str, bytes]:
        try:
            values = await shard.execute("MGET", *names)
        except ShardError:
            self._count_errors(len(names))
            return await self._meanwhile.read(names)
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    def _count_errors(self, count: int) -> None:
        self.errors += count
        CACHE_ERRORS.inc(count)


@asynccontextmanager
async def redis_shards(urls: Sequence[str], log: Logger) -> AsyncIterator[RedisShards]:
    """The shards at these URLs. They need not be there when it begins."""
    shards = [Shard(url, log, number) for number, url in enumerate(urls)]
    try:
        yield RedisShards(shards)
    finally:
        for shard in shards:
            await shard.close()
