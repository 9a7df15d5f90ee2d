"""What a database does when something passes by itself, and when it does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
import grpc
import pytest
from marketplace.loms.v1 import loms_pb2 as pb
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub
from pydantic import SecretStr

from services.chassis.errors import UnavailableError
from services.chassis.log import get_logger
from services.chassis.postgres import ATTEMPTS, BACKOFF_SECONDS, Connection, ReadConnection, database
from services.chassis.settings import StartError
from services.loms.__main__ import loms
from tests.postgres import session
from tests.settings import FREE, LomsSettings
from tests.storage.conftest import Databases

Cause: TypeAlias = str | type[Exception]
"""What work fails with: an SQLSTATE that the server raises, or an error that only the client raises."""

ROLLED_BACK: list[Cause] = ["40001", "40P01", "57P01"]
LOST: list[Cause] = ["08006", asyncpg.InternalClientError]
OURS = [("23514", asyncpg.CheckViolationError), ("23505", asyncpg.UniqueViolationError)]
RAISE = "DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{}'; END $$"
REFUSE_ORDERS = """
CREATE SEQUENCE attempts;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('attempts');
    RAISE EXCEPTION 'injected' USING ERRCODE = '{}';
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse();
"""
TAKE_ORDERS = "DROP FUNCTION refuse CASCADE; DROP SEQUENCE attempts;"
CALLERS = 10


class Failing:
    """Work that fails a number of times before it is done."""

    def __init__(self, cause: Cause, times: int) -> None:
        self._cause = cause
        self._times = times
        self.attempts = 0

    async def __call__(self, connection: ReadConnection) -> int:
        self.attempts += 1
        if self.attempts <= self._times:
            await self._fail(connection)
        found: int = await connection.fetchval("SELECT 42")
        return found

    async def _fail(self, connection: ReadConnection) -> None:
        if not isinstance(self._cause, str):
            raise self._cause("injected")
        await connection.fetch(RAISE.format(self._cause))


@pytest.mark.parametrize("cause", [*ROLLED_BACK, *LOST])
async def test_what_passes_by_itself_is_tried_again(databases: Databases, cause: Cause) -> None:
    async with databases("loms") as loms:
        assert await loms.database.read(Failing(cause, ATTEMPTS - 1)) == 42
        assert await loms.database.write(Failing(cause, ATTEMPTS - 1), repeatable=True) == 42


@pytest.mark.parametrize("cause", [*ROLLED_BACK, *LOST])
async def test_what_does_not_pass_is_unavailable(databases: Databases, cause: Cause) -> None:
    work = Failing(cause, ATTEMPTS)
    async with databases("loms") as loms:
        with pytest.raises(UnavailableError):
            await loms.database.write(work, repeatable=True)

    assert work.attempts == ATTEMPTS


@pytest.mark.parametrize("cause", ROLLED_BACK)
async def test_what_was_rolled_back_is_done_again_even_if_it_must_not_be_done_twice(
    databases: Databases, cause: Cause
) -> None:
    async with databases("loms") as loms:
        assert await loms.database.write(Failing(cause, 1), repeatable=False) == 42


@pytest.mark.parametrize("cause", LOST)
async def test_what_may_have_been_done_is_not_done_twice(databases: Databases, cause: Cause) -> None:
    work = Failing(cause, 1)
    async with databases("loms") as loms:
        with pytest.raises(UnavailableError, match="may have been done"):
            await loms.database.write(work, repeatable=False)

    assert work.attempts == 1


@pytest.mark.parametrize(("cause", "error"), OURS)
async def test_a_broken_constraint_is_raised_as_it_is_at_once(
    databases: Databases, cause: Cause, error: type[Exception]
) -> None:
    work = Failing(cause, 1)
    async with databases("loms") as loms:
        with pytest.raises(error):
            await loms.database.write(work, repeatable=True)

    assert work.attempts == 1


@pytest.mark.parametrize(
    ("cause", "code", "attempts"),
    [
        *((cause, grpc.StatusCode.UNAVAILABLE, ATTEMPTS) for cause in ("40001", "40P01", "57P01", "08006")),
        *((cause, grpc.StatusCode.INTERNAL, 1) for cause, _ in OURS),
    ],
)
async def test_each_error_of_the_database_is_one_code_to_a_caller(
    databases: Databases, cause: str, code: grpc.StatusCode, attempts: int
) -> None:
    async with databases("loms") as connected, refusing_orders(connected.dsn, cause) as owner:
        settings = LomsSettings(
            listen=FREE,
            side_listen=FREE,
            storage="postgres",
            database_url=SecretStr(connected.url),
            database_direct_url=SecretStr(connected.dsn),
        )
        order = pb.OrderCreateRequest(
            user_id=7, items=[pb.OrderItem(sku=1, count=1)], request_id="8a1f6f6e-5d0c-4c55-9d13-6a4e0f6d2b11"
        )
        async with loms(settings) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await LomsServiceStub(channel).OrderCreate(order)
        tried = await owner.fetchval("SELECT last_value FROM attempts WHERE is_called")

    assert raised.value.code() is code
    assert "injected" not in str(raised.value.details())
    assert tried == attempts


@asynccontextmanager
async def refusing_orders(dsn: str, cause: str) -> AsyncIterator[asyncpg.Connection]:
    """The database of a DSN refuses every order with this SQLSTATE, and counts them."""
    async with session(dsn) as owner:
        await owner.execute(REFUSE_ORDERS.format(cause))
        try:
            yield owner
        finally:
            await owner.execute(TAKE_ORDERS)


async def test_the_pauses_between_attempts_double_and_differ_from_caller_to_caller(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    async with databases("loms") as loms:
        monkeypatch.setattr("services.chassis.postgres.asyncio.sleep", note)
        for _ in range(CALLERS):
            await loms.database.read(Failing("40001", ATTEMPTS - 1))
        monkeypatch.undo()

    for retry in range(ATTEMPTS - 1):
        of_callers = pauses[retry :: ATTEMPTS - 1]
        assert len(set(of_callers)) == CALLERS
        assert min(of_callers) >= BACKOFF_SECONDS * 2**retry
        assert max(of_callers) <= BACKOFF_SECONDS * 2 ** (retry + 1)


async def test_a_terminated_backend_costs_nobody_an_answer(databases: Databases) -> None:
    async with databases("loms") as loms:
        await loms.database.read(lambda connection: connection.fetchval("SELECT 1"))
        async with session(loms.dsn) as killer:
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

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
