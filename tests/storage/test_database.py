"""What a database does when something passes by itself, and when it does not."""

import asyncio

import asyncpg
import pytest

from services.chassis.errors import UnavailableError
from services.chassis.log import get_logger
from services.chassis.postgres import ATTEMPTS, Connection, ReadConnection, database
from services.chassis.settings import StartError
from tests.storage.conftest import Databases

ROLLED_BACK = [asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.AdminShutdownError]
LOST = [asyncpg.ConnectionFailureError, asyncpg.InternalClientError]
OURS = [asyncpg.CheckViolationError, asyncpg.UniqueViolationError]


class Failing:
    """Work that fails a number of times before it is done."""

    def __init__(self, error: type[Exception], times: int) -> None:
        self._error = error
        self._times = times
        self.attempts = 0

    async def __call__(self, connection: ReadConnection) -> int:
        self.attempts += 1
        if self.attempts <= self._times:
            raise self._error("injected")
        found: int = await connection.fetchval("SELECT 42")
        return found


@pytest.mark.parametrize("error", [*ROLLED_BACK, *LOST])
async def test_what_passes_by_itself_is_tried_again(databases: Databases, error: type[Exception]) -> None:
    async with databases("loms") as loms:
        assert await loms.database.read(Failing(error, ATTEMPTS - 1)) == 42
        assert await loms.database.write(Failing(error, ATTEMPTS - 1), repeatable=True) == 42


@pytest.mark.parametrize("error", [*ROLLED_BACK, *LOST])
async def test_what_does_not_pass_is_unavailable(databases: Databases, error: type[Exception]) -> None:
    work = Failing(error, ATTEMPTS)
    async with databases("loms") as loms:
        with pytest.raises(UnavailableError):
            await loms.database.write(work, repeatable=True)

    assert work.attempts == ATTEMPTS


@pytest.mark.parametrize("error", ROLLED_BACK)
async def test_what_was_rolled_back_is_done_again_even_if_it_must_not_be_done_twice(
    databases: Databases, error: type[Exception]
) -> None:
    async with databases("loms") as loms:
        assert await loms.database.write(Failing(error, 1), repeatable=False) == 42


@pytest.mark.parametrize("error", LOST)
async def test_what_may_have_been_done_is_not_done_twice(databases: Databases, error: type[Exception]) -> None:
    work = Failing(error, 1)
    async with databases("loms") as loms:
        with pytest.raises(UnavailableError, match="may have been done"):
            await loms.database.write(work, repeatable=False)

    assert work.attempts == 1


@pytest.mark.parametrize("error", OURS)
async def test_a_broken_constraint_is_raised_as_it_is_at_once(databases: Databases, error: type[Exception]) -> None:
    work = Failing(error, 1)
    async with databases("loms") as loms:
        with pytest.raises(error):
            await loms.database.write(work, repeatable=True)

    assert work.attempts == 1


async def test_a_terminated_backend_costs_nobody_an_answer(databases: Databases) -> None:
    async with databases("loms") as loms:
        await loms.database.read(lambda connection: connection.fetchval("SELECT 1"))
        killer = await asyncpg.connect(loms.dsn)
        await killer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        await killer.close()

        assert await loms.database.read(lambda connection: connection.fetchval("SELECT 42")) == 42


async def test_what_is_written_is_written_though_its_caller_is_gone(databases: Databases) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(connection: Connection) -> None:
        begun.set()
        await go_on.wait()
        await connection.execute("INSERT INTO stocks (sku, total) VALUES (1, 5)")

    async with databases("loms") as loms:
        caller = asyncio.create_task(loms.database.write(work, repeatable=True))
        await begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go_on.set()
        await loms.database.idle()

        assert await loms.database.read(lambda connection: connection.fetchval("SELECT total FROM stocks")) == 5


@pytest.mark.parametrize(
    "url", ["postgresql://user:s3cr#t@127.0.0.1:1/loms", "postgresql://user:s3cret@127.0.0.1:1/loms", "x"]
)
async def test_a_database_that_cannot_be_reached_is_named_by_its_setting_only(url: str) -> None:
    with pytest.raises(StartError, match=r"^the database cannot be reached \(\w+\): look at LOMS_DATABASE_URL$"):
        async with database(url, "LOMS_DATABASE_URL", get_logger("loms"), 1):
            pass
