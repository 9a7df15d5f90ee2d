"""PostgreSQL: a pool of connections, and work that outlives what passes by itself."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from services.chassis.errors import UnavailableError
from services.chassis.log import Logger
from services.chassis.settings import StartError

Connection: TypeAlias = "asyncpg.Connection | PoolConnectionProxy"

T = TypeVar("T")

ATTEMPTS = 5
BACKOFF_SECONDS = 0.01
ACQUIRE_SECONDS = 2
COMMAND_SECONDS = 5
IDLE_SECONDS = 60

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
# The server was too slow or somebody else held a lock for too long.
LATE = (TimeoutError, asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError)


class Database:
    """Does work on connections of a pool. Work is an async function of a connection.

    Work that failed for a reason that passes by itself is done again, a few times;
    then it raises UnavailableError. Every other error is raised as it is.
    """

    def __init__(self, pool: asyncpg.Pool, log: Logger) -> None:
        self._pool = pool
        self._log = log
        self._writing: set[asyncio.Task[object]] = set()

    async def read(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Does work that changes nothing."""
        return await self._attempts(work, repeatable=True)

    async def write(self, work: Callable[[Connection], Awaitable[T]], *, repeatable: bool) -> T:
        """Does work that changes something. It goes on when its caller is cancelled.

        `repeatable` says that doing it twice has one effect. If it has not, a connection
        that is lost on the way ends it, for nobody knows whether it was done.
        """
        task = asyncio.create_task(self._attempts(work, repeatable=repeatable))
        self._writing.add(task)
        task.add_done_callback(self._written)
        return await asyncio.shield(task)

    async def idle(self) -> None:
        """Waits until nothing is written."""
        while self._writing:
            await asyncio.wait(self._writing)

    async def _attempts(self, work: Callable[[Connection], Awaitable[T]], *, repeatable: bool) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._attempt(work, repeatable=repeatable)
            except (*ROLLED_BACK, *LOST) as error:
                self._log.warning("database error", error=type(error).__name__, attempt=attempt)
                if attempt == ATTEMPTS:
                    raise UnavailableError("the database cannot be reached") from error
            await asyncio.sleep(random.uniform(0.5, 1) * BACKOFF_SECONDS * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, work: Callable[[Connection], Awaitable[T]], *, repeatable: bool) -> T:
        try:
            connection = await self._pool.acquire(timeout=ACQUIRE_SECONDS)
        except TimeoutError as error:
            raise UnavailableError("the database has no free connection") from error
        try:
            return await work(connection)
        except ROLLED_BACK:
            raise
        except LOST as error:
            if repeatable:
                raise
            raise UnavailableError("the connection to the database was lost; it may have been done") from error
        except LATE as error:
            raise UnavailableError("the database did not answer in time") from error
        finally:
            await self._pool.release(connection)

    def _written(self, task: "asyncio.Task[object]") -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it is told; if nobody does any more, it is nobody's business


@asynccontextmanager
async def database(url: str, variable: str, log: Logger, connections: int) -> AsyncIterator[Database]:
    """A pool of at most so many connections. `variable` is the setting that holds the url.

    Raises StartError when the database cannot be reached. The reset query that asyncpg
    sends with each release is left out: nothing here changes a session.
    """

    async def no_reset(_connection: Connection) -> None:
        pass

    try:
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=connections,
            command_timeout=COMMAND_SECONDS,
            max_inactive_connection_lifetime=IDLE_SECONDS,
            reset=no_reset,
        )
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartError(f"the database cannot be reached ({type(error).__name__}): look at {variable}") from None
    connected = Database(pool, log)
    try:
        yield connected
    finally:
        await connected.idle()
        await pool.close()
