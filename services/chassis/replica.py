"""A synchronous replica that answers reads, and the primary in its place while it cannot."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from services.chassis.background import background, every
from services.chassis.errors import DeadlineExceededError, UnavailableError
from services.chassis.log import Logger
from services.chassis.pooler import is_pooled
from services.chassis.postgres import Database, ReadConnection, Reads, counted, database, open_pool
from services.chassis.settings import ReplicatedSettings, StartError

T = TypeVar("T")

STATEMENT_SECONDS = 1
"""How long a statement may take on the replica before the primary is asked."""
WATCH_SECONDS = 1
POLL_SECONDS = 0.01

COMMITTED = """
SELECT pg_current_wal_lsn()::text
WHERE current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit') = 'remote_apply'
"""
"""What the replica has to apply; nothing where commits do not wait for it."""
HAS_APPLIED = "SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= $1::text::pg_lsn"

NO_ANSWER = (UnavailableError, DeadlineExceededError)
NOT_WAITED_FOR = "the primary does not wait with a commit until the replica has applied it"
LAGS = "the replica lags"


class Replica:
    """Reads from the replica what was committed before, by whomever.

    It knows that while the primary waits with each commit until the replica has applied it.
    While the primary does not, or the replica does not answer, it reads from the primary.
    """

    def __init__(self, replica: Reads, primary: Reads, log: Logger) -> None:
        self._replica = replica
        self._primary = primary
        self._log = log
        self._reason: str | None = "it was not tried yet"
        """Why the replica is not read."""

    async def read(self, work: Callable[[ReadConnection], Awaitable[T]]) -> T:
        """Does work that changes nothing."""
        if self._reason is None:
            try:
                return await self._replica.read(work)
            except NO_ANSWER as error:
                self._found(str(error))
        return await self._primary.read(work)

    async def watch(self) -> None:
        """Finds out whether the replica can be read. Raises as the primary does when it cannot tell."""
        committed = await self._primary.read(lambda connection: connection.fetchval(COMMITTED))
        if committed is None:
            self._found(NOT_WAITED_FOR)
            return
        try:
            self._found(None if await self._applies(committed) else LAGS)
        except NO_ANSWER as error:
            self._found(str(error))

    async def _applies(self, committed: str) -> bool:
        for _ in range(round(WATCH_SECONDS / POLL_SECONDS)):
            if await self._replica.read(lambda connection: connection.fetchval(HAS_APPLIED, committed)):
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    def _found(self, reason: str | None) -> None:
        if reason == self._reason:
            return
        self._reason = reason
        if reason is None:
            self._log.info("reads go to the replica")
        else:
            self._log.warning("reads go to the primary", reason=reason)


@asynccontextmanager
async def reads(settings: ReplicatedSettings, primary: Database, log: Logger) -> AsyncIterator[Reads]:
    """Where a service reads: from its replica, if it has one. It starts without the replica, too."""
    if settings.database_read_url is None:
        yield primary
        return
    url, variable = settings.database_read_url.get_secret_value(), settings.variable("database_read_url")
    primary_url, primary_variable = settings.required_url("database_url"), settings.variable("database_url")
    pooled, connections = await _is_pooled(url, variable), settings.database_connections
    pool = await open_pool(url, connections, is_pooled=pooled, ready=0, command_seconds=STATEMENT_SECONDS)
    # Other connections to the primary than those of the writes, which may all wait for a replica that is gone.
    async with pool, database(primary_url, primary_variable, log, connections) as instead:
        copy = Database(pool, log, is_pooled=pooled, attempts=1)
        replica = Replica(copy, instead, log)
        await replica.watch()
        try:
            with counted(copy, "replica"):
                async with background(every(WATCH_SECONDS, replica.watch, log)):
                    yield replica
        finally:
            await copy.idle()


async def _is_pooled(url: str, variable: str) -> bool:
    """Whether a URL leads through PgBouncer. When nobody is there now, it may."""
    try:
        return await is_pooled(url, variable)
    except (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
        return True
    except (ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartError(f"the replica refuses us ({type(error).__name__}): look at {variable}") from None
