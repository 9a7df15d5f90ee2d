"""Behind PgBouncer in transaction mode: sessions are shared, and nobody needs one of his own."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from services.chassis.clock import utc_now
from services.chassis.log import get_logger
from services.chassis.migrations import migrate
from services.chassis.pooler import is_pooled
from services.chassis.postgres import ReadConnection, database
from services.chassis.settings import StartError
from services.loms.postgres import PostgresStorage
from services.loms.usecases import CANCEL, PAY, Item, NewOrder
from tests.marketplace import ROOT
from tests.pgbouncer import PgBouncer, running_pgbouncer
from tests.storage.conftest import Databases

LOMS = ROOT / "sql" / "loms" / "migrations"
SESSIONS, CLIENTS, CALLS, TEXTS = 4, 40, 50, 12
CHANGED_SETTINGS = "SELECT count(*) FROM pg_settings WHERE setting <> reset_val AND source = 'session'"
LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"


async def test_a_url_through_pgbouncer_is_told_from_one_past_it(server: str, pooler: PgBouncer) -> None:
    assert await is_pooled(pooler.url(server), "LOMS_DATABASE_URL")
    assert not await is_pooled(server, "LOMS_DATABASE_URL")


async def test_a_pgbouncer_that_does_not_tell_its_version_is_refused(server: str) -> None:
    told = r"of LOMS_DATABASE_URL: look at the password and at stats_users$"
    with running_pgbouncer(server, more="") as silent, pytest.raises(StartError, match=told):
        await is_pooled(silent.url(server), "LOMS_DATABASE_URL")


async def test_migrations_are_refused_behind_pgbouncer(server: str, pooler: PgBouncer) -> None:
    with pytest.raises(StartError, match=r"^LOMS_DATABASE_DIRECT_URL leads through PgBouncer"):
        await migrate(pooler.url(server), "LOMS_DATABASE_DIRECT_URL", LOMS)


async def test_statements_of_many_clients_do_not_meet_in_the_sessions_that_they_share(server: str) -> None:
    def answer(text: int, number: int) -> Callable[[ReadConnection], Awaitable[int]]:
        return lambda connection: connection.fetchval(f"SELECT {text} * 1000 + $1::int", number)

    with running_pgbouncer(server, more=f"stats_users = postgres\ndefault_pool_size = {SESSIONS}") as pgbouncer:
        async with database(pgbouncer.url(server), "LOMS_DATABASE_URL", get_logger("loms"), CLIENTS) as pooled:

            async def client(number: int) -> list[int]:
                return [await pooled.read(answer(call % TEXTS, number)) for call in range(CALLS)]

            answers = await asyncio.gather(*(client(number) for number in range(CLIENTS)))

    expected = [[call % TEXTS * 1000 + number for call in range(CALLS)] for number in range(CLIENTS)]
    assert answers == expected


async def test_a_read_whose_caller_is_gone_is_not_cancelled_on_the_way(server: str, pooler: PgBouncer) -> None:
    """PgBouncer before 1.19.1 can die of the request that asks for it."""
    async with database(pooler.url(server), "LOMS_DATABASE_URL", get_logger("loms"), 1) as pooled:
        begun, ended = asyncio.Event(), []

        async def work(connection: ReadConnection) -> None:
            begun.set()
            ended.append(await connection.fetchval("SELECT 42 FROM pg_sleep(0.1)"))

        caller = asyncio.create_task(pooled.read(work))
        await begun.wait()
        caller.cancel()
        await asyncio.wait([caller])
        await pooled.idle()

    assert caller.cancelled()
    assert ended == [42]


async def test_a_pgbouncer_that_dies_and_is_back_costs_nobody_an_answer(server: str) -> None:
    with running_pgbouncer(server) as pgbouncer:
        async with database(pgbouncer.url(server), "LOMS_DATABASE_URL", get_logger("loms"), 10) as pooled:
            for _ in range(3):
                await pooled.read(lambda connection: connection.fetchval("SELECT 1"))
                pgbouncer.kill()
                call = asyncio.create_task(pooled.read(lambda connection: connection.fetchval("SELECT 42")))
                await asyncio.sleep(0)
                pgbouncer.start()
                assert await call == 42


async def test_a_service_leaves_nothing_in_the_sessions_that_it_shares(pooled_databases: Databases) -> None:
    async with pooled_databases("loms") as loms:
        storage = PostgresStorage(loms.database, loms.database)

        async def use(user_id: int) -> None:
            created = await storage.create(NewOrder(user_id, (Item(1, 1),), uuid4()), utc_now())
            await storage.order(created.order_id)
            await storage.change(created.order_id, PAY, utc_now())
            await storage.unsent(10)
            await storage.change_unpaid(utc_now(), CANCEL, utc_now(), 10)

        for first in range(1, 101, 20):
            await asyncio.gather(*(use(user_id) for user_id in range(first, first + 20)))
        left = await asyncio.gather(*(loms.database.read(left_in_session) for _ in range(10)))

    assert left == [(0, 0)] * 10


async def left_in_session(connection: ReadConnection) -> tuple[int, int]:
    """How many settings of the session are not as they were, and how many locks it holds."""
    return await connection.fetchval(CHANGED_SETTINGS), await connection.fetchval(LOCKS)
