"""Points inside a statement at which a test stops it.

Each is a trigger of the test's database that waits for a lock which the test holds. It
stops the sessions that have the victim's application_name; what is tested knows nothing of it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum

import asyncpg

from tests.waiting import until

VICTIM = "victim"
LOCK = 20_260_102

MAKE = f"""
CREATE FUNCTION stop_victim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') = '{VICTIM}' THEN
        PERFORM pg_advisory_xact_lock_shared({LOCK});
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER stop_victim {{moment}} EXECUTE FUNCTION stop_victim();
SELECT pg_advisory_lock({LOCK});
"""
REMOVE = """
SELECT pg_advisory_unlock_all();
DROP FUNCTION stop_victim CASCADE;
"""
STOPPED = f"""
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND objid = {LOCK} AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
WAITS = """
SELECT count(*) > 0 FROM pg_locks INNER JOIN pg_stat_activity USING (pid)
WHERE application_name = $1 AND datname = current_database() AND NOT granted
"""


class Point(Enum):
    """Where a statement is stopped."""

    BEGUN = "BEFORE INSERT OR UPDATE ON orders FOR EACH STATEMENT"
    """It has its snapshot; an order that is created or expires holds no lock yet."""
    UPDATE_ORDER = "BEFORE UPDATE ON orders FOR EACH ROW"
    """The status is read and not yet written."""
    INSERT_EVENT = "BEFORE INSERT ON outbox FOR EACH ROW"
    """The order is written and its event is not."""
    UPDATE_STOCK = "BEFORE UPDATE ON stocks FOR EACH ROW"
    """The stock is read and not yet written."""


class Failpoint:
    """A point that stops the victim until it is told to go on."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def reached(self, victim: asyncio.Task[object]) -> None:
        """Waits until the victim stands there. Fails when it ends without having come by."""

        async def stands_or_ended() -> bool:
            return victim.done() or await self._connection.fetchval(STOPPED) is not None

        await until(stands_or_ended)
        assert not victim.done(), "the victim did not come by"

    async def done_or_waiting(self, rival: asyncio.Task[object], name: str) -> None:
        """Waits until the rival has ended, or waits for a lock in the session of this application_name."""

        async def done_or_waits() -> bool:
            return rival.done() or bool(await self._connection.fetchval(WAITS, name))

        await until(done_or_waits)

    async def go_on(self) -> None:
        """Lets the victim pass, now and later."""
        await self._connection.execute("SELECT pg_advisory_unlock_all()")

    async def kill(self) -> None:
        """Ends the session of the victim where it stands."""
        await self._connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({STOPPED})")


@asynccontextmanager
async def failpoint(connection: asyncpg.Connection, point: Point) -> AsyncIterator[Failpoint]:
    """Stops the victim at the point. The connection is none of the victim's."""
    await connection.execute(MAKE.format(moment=point.value))
    try:
        yield Failpoint(connection)
    finally:
        await connection.execute(REMOVE)
