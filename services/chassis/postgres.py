"""PostgreSQL: a pool of connections, and work that outlives what passes by itself."""

import asyncio
import random
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from services.chassis.call import current_span
from services.chassis.errors import DeadlineExceededError, UnavailableError
from services.chassis.log import Logger
from services.chassis.metrics import (
    DB_CLIENT_CONNECTIONS,
    DB_CLIENT_CONNECTIONS_MAX,
    DB_CLIENT_DURATION,
    Durations,
    Timed,
)
from services.chassis.pooler import is_pooled
from services.chassis.settings import StartError

Connection: TypeAlias = "asyncpg.Connection | PoolConnectionProxy"
"""A connection for all work."""

T = TypeVar("T")

ATTEMPTS = 5
BACKOFF_SECONDS = 0.01
CONNECT_SECONDS = 5
ACQUIRE_SECONDS = 2
COMMAND_SECONDS = 5
IDLE_SECONDS = 60
KEPT_STATEMENTS = 100

# The server says that it has done nothing, and that it may be otherwise the next time.
ROLLED_BACK = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)
# The connection is gone, and with it the answer. The last two are what asyncpg makes of a server that dies.
LOST = (asyncpg.PostgresConnectionError, OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# Nobody waits for the answer any longer, so nobody knows what it is.
LATE = (TimeoutError, asyncpg.QueryCanceledError)
# There is nobody, or nobody who lets us in, at a URL.
UNREACHABLE = (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError)


NAME = re.compile(r"-- name: (\w+)")
WRITES = re.compile(r"\bINSERT(?= INTO\b)|\bDELETE(?= FROM\b)|\bUPDATE(?= \w+ (?:AS \w+ )?SET\b)")


class ReadConnection(Protocol):
    """A connection for work that changes nothing: no generated query that writes takes it."""

    async def fetch(self, query: str, /, *args: object) -> list[asyncpg.Record]: ...
    async def fetchrow(self, query: str, /, *args: object) -> asyncpg.Record | None: ...
    async def fetchval(self, query: str, /, *args: object) -> Any: ...
    def cursor(self, query: str, /, *args: object) -> AsyncIterable[asyncpg.Record]: ...


class Reads(Protocol):
    """Where work is done that changes nothing, and that needs not know what was written within the same call."""

    async def read(self, work: Callable[[ReadConnection], Awaitable[T]]) -> T:
        """Does it, as Database does."""
        ...


class Database:
    """Does work on connections of a pool. Work is an async function of a connection.

    Work that failed for a reason that passes by itself is done again, up to `attempts`
    times; then it raises UnavailableError. Work that takes too long raises
    DeadlineExceededError. Every other error is raised as it is.
    """

    def __init__(self, pool: asyncpg.Pool, log: Logger, *, is_pooled: bool = False, attempts: int = ATTEMPTS) -> None:
        self._pool = pool
        self._log = log
        self._is_pooled = is_pooled
        self._max_attempts = attempts
        self._running: set[asyncio.Task[object]] = set()
        self._kept: list[PoolConnectionProxy] = []
        """Connections that nobody works on now: to give one back and take it again would cost three tasks."""
        self._waiting = 0

    async def read(self, work: Callable[[ReadConnection], Awaitable[T]]) -> T:
        """Does work that changes nothing.

        Behind PgBouncer it goes on when its caller is cancelled: otherwise the server is asked
        to cancel the statement, and of that PgBouncer before 1.19.1 can die.
        """
        if self._is_pooled:
            return await self._shielded(self._attempts(work, repeatable=True))
        return await self._attempts(work, repeatable=True)

    async def write(self, work: Callable[[Connection], Awaitable[T]], *, repeatable: bool) -> T:
        """Does work that changes something. It goes on when its caller is cancelled.

        `repeatable` says that doing it twice has one effect. If it has not, a connection
        that is lost on the way ends it, for nobody knows whether it was done.
        """
        return await self._shielded(self._attempts(work, repeatable=repeatable))

    async def idle(self) -> None:
        """Waits for the work whose callers are gone, and gives all connections back to the pool."""
        while self._running:
            await asyncio.wait(self._running)
        while self._kept:
            await self._pool.release(self._kept.pop())

    def connections(self, name: str) -> dict[tuple[str, ...], float]:
        """How many there are now, idle and used."""
        idle = self._pool.get_idle_size() + len(self._kept)
        return {(name, "idle"): idle, (name, "used"): self._pool.get_size() - idle}

    def most_connections(self, name: str) -> dict[tuple[str, ...], float]:
        """How many there may be."""
        return {(name,): self._pool.get_max_size()}

    async def _shielded(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def _attempts(self, work: Callable[[Connection], Awaitable[T]], *, repeatable: bool) -> T:
        for attempt in range(1, self._max_attempts + 1):
            try:
                return await self._attempt(work, repeatable=repeatable)
            except (*ROLLED_BACK, *LOST) as error:
                self._log.warning("database error", error=type(error).__name__, attempt=attempt)
                if attempt == self._max_attempts:
                    raise UnavailableError("the database cannot be reached") from error
            await asyncio.sleep(random.uniform(0.5, 1) * BACKOFF_SECONDS * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, work: Callable[[Connection], Awaitable[T]], *, repeatable: bool) -> T:
        try:
            connection = await self._taken()
        except TimeoutError as error:
            raise UnavailableError("the database has no free connection") from error
        is_fine = False
        try:
            result = await work(connection)
            is_fine = True
        except ROLLED_BACK:
            raise
        except LOST as error:
            if repeatable:
                raise
            raise UnavailableError("the connection to the database was lost; it may have been done") from error
        except LATE as error:
            raise DeadlineExceededError("the database did not answer in time; it may have been done") from error
        except asyncpg.LockNotAvailableError as error:
            raise UnavailableError("somebody else has it in hand for too long") from error
        finally:
            if is_fine and self._waiting == 0:
                self._kept.append(connection)
            else:
                await self._pool.release(connection)
        return result

    async def _taken(self) -> PoolConnectionProxy:
        """A connection: one that was kept, or one of the pool."""
        while self._kept:
            connection = self._kept.pop()
            if not connection.is_closed():
                return connection
            await self._pool.release(connection)
        self._waiting += 1
        try:
            return await self._pool.acquire(timeout=ACQUIRE_SECONDS)
        finally:
            self._waiting -= 1

    def _ended(self, task: "asyncio.Task[object]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it is told; if nobody does any more, it is nobody's business


@asynccontextmanager
async def database(url: str, variable: str, log: Logger, connections: int) -> AsyncIterator[Database]:
    """A pool of at most so many connections. `variable` is the setting that holds the url.

    Raises StartError when the database cannot be reached.
    """
    try:
        pooled = await is_pooled(url, variable)
        pool = await open_pool(url, connections, is_pooled=pooled)
    except UNREACHABLE as error:
        raise StartError(f"the database cannot be reached ({type(error).__name__}): look at {variable}") from None
    connected = Database(pool, log, is_pooled=pooled)
    try:
        with counted(connected, "primary"):
            yield connected
    finally:
        await connected.idle()
        await pool.close()


@contextmanager
def counted(connected: Database, name: str) -> Iterator[None]:
    """Tells under this name how many connections there are."""
    with (
        DB_CLIENT_CONNECTIONS.source(lambda: connected.connections(name)),
        DB_CLIENT_CONNECTIONS_MAX.source(lambda: connected.most_connections(name)),
    ):
        yield


async def open_pool(
    url: str, connections: int, *, is_pooled: bool, ready: int = 1, command_seconds: float = COMMAND_SECONDS
) -> asyncpg.Pool:
    """A pool of at most so many connections, of which so many are `ready` now.

    Behind PgBouncer each transaction may meet another session, so statements are not kept
    prepared. The reset query that asyncpg sends with each release is left out: nothing
    here changes a session.
    """

    async def no_reset(_connection: Connection) -> None:
        pass

    return await asyncpg.create_pool(
        url,
        min_size=ready,
        max_size=connections,
        timeout=CONNECT_SECONDS,
        command_timeout=command_seconds,
        max_inactive_connection_lifetime=IDLE_SECONDS,
        statement_cache_size=0 if is_pooled else KEPT_STATEMENTS,
        reset=no_reset,
        connection_class=ObservedConnection,
    )


class ObservedConnection(asyncpg.Connection):
    """Tells of each query how it ended and how long it took. The query loggers of asyncpg cost ten times as much."""

    __slots__ = ()

    async def fetch(self, query: str, *args: Any, **more: Any) -> Any:
        return await _observed(query, super().fetch(query, *args, **more))

    async def fetchrow(self, query: str, *args: Any, **more: Any) -> Any:
        return await _observed(query, super().fetchrow(query, *args, **more))

    async def fetchval(self, query: str, *args: Any, **more: Any) -> Any:
        return await _observed(query, super().fetchval(query, *args, **more))

    async def execute(self, query: str, *args: Any, **more: Any) -> Any:
        return await _observed(query, super().execute(query, *args, **more))


class _Query:
    """A query of `sql/`, as the generated modules have it."""

    def __init__(self, name: str, statement: str) -> None:
        self.name = name
        write = WRITES.search(" ".join(statement.split()))
        category = write[0].lower() if write else "select"
        self.durations = Durations(DB_CLIENT_DURATION, self.name, category)
        self.attributes = {"db.system": "postgresql", "db.operation": category}


_queries: dict[str, _Query] = {}


def _query_of(statement: str) -> _Query | None:
    """None of what is not generated: BEGIN, SHOW."""
    query = _queries.get(statement)
    if query is None:
        named = NAME.match(statement)
        if named is None:
            return None
        query = _queries[statement] = _Query(named[1], statement)
    return query


async def _observed(statement: str, work: Awaitable[T]) -> T:
    query = _query_of(statement)
    if query is None:
        return await work
    current = current_span()
    span = current.child(query.name, "client", query.attributes) if current else None
    with Timed(query.durations, span):
        return await work
