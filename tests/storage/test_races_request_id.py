"""Orders with one request_id while many send it at once, and after the server was killed."""

import asyncio
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from uuid import uuid4

import pytest

from services.chassis.errors import UnavailableError
from services.chassis.migrations import migrate
from services.embedded_postgres import embedded_postgres
from services.loms.postgres import PostgresStorage
from services.loms.usecases import Created, NewOrder, RequestIdReusedError
from tests.marketplace import ROOT, free_ports
from tests.storage.conftest import Databases
from tests.storage.failpoints import VICTIM, Point, failpoint
from tests.storage.races import NOW, opened, order, part, shop

CALLS, CONNECTIONS = 50, 20


async def test_fifty_calls_at_once_with_one_request_id_create_one_order_and_are_answered_alike(
    databases: Databases,
) -> None:
    request_ids = part(200)
    units = request_ids * 3 // 4
    async with shop(databases, {1: units}) as raced, raced.storage(CONNECTIONS) as storage:
        for _ in range(request_ids):
            wanted = order(1, request_id=uuid4())
            answers = await asyncio.gather(*(storage.create(wanted, NOW) for _ in range(CALLS)))
            assert len(set(answers)) == 1

        assert await raced.statuses(1) == {"awaiting payment": units, "failed": request_ids - units}
        assert await raced.broken() == []


async def test_of_two_orders_at_once_with_one_request_id_one_is_created_and_the_other_is_refused_without_effect(
    databases: Databases,
) -> None:
    request_ids = part(200)
    async with shop(databases, {1: 1000, 2: 1000}) as raced, raced.storage(CONNECTIONS) as storage:
        for number in range(request_ids):
            request_id = uuid4()
            skus = (1, 2) if number % 2 else (2, 1)
            rivals = [order(sku, request_id=request_id) for sku in skus]
            answers = await asyncio.gather(*(answer(storage, rivals[call % 2]) for call in range(CALLS)))
            told = [set(answers[0::2]), set(answers[1::2])]

            assert {None} in told
            assert [len(alike) for alike in told] == [1, 1]
            assert sum(one is None for one in answers) == CALLS // 2
            assert await answer(storage, rivals[told.index({None})]) is None

        made = Counter(await raced.statuses(1)) + Counter(await raced.statuses(2))
        assert made == {"awaiting payment": request_ids}
        assert await raced.broken() == []


async def test_one_request_id_of_two_users_at_once_is_two_orders(databases: Databases) -> None:
    request_ids = part(200)
    async with shop(databases, {1: 1000}) as raced, raced.storage(CONNECTIONS) as storage:
        for _ in range(request_ids):
            request_id = uuid4()
            theirs = [order(1, count=user_id, user_id=user_id, request_id=request_id) for user_id in (1, 2)]
            answers = await asyncio.gather(*(answer(storage, theirs[call % 2]) for call in range(10)))
            told = [set(answers[0::2]), set(answers[1::2])]

            assert [len(alike) for alike in told] == [1, 1]
            assert len(set(answers) - {None}) == 2

        assert await raced.statuses(1) == {"awaiting payment": 2 * request_ids}
        assert await raced.broken() == []


async def answer(storage: PostgresStorage, wanted: NewOrder) -> Created | None:
    """What it became, or None if its request_id was refused."""
    try:
        return await storage.create(wanted, NOW)
    except RequestIdReusedError:
        return None


@pytest.mark.parametrize("point", [Point.BEGUN, Point.INSERT_EVENT, Point.UPDATE_STOCK])
async def test_a_retry_that_comes_while_the_order_is_being_created_gets_its_answer(
    databases: Databases, point: Point
) -> None:
    wanted = order(1, request_id=uuid4())
    async with (
        shop(databases, {1: 10}) as raced,
        raced.storage(1, VICTIM) as first,
        raced.storage(1, "rival") as second,
        failpoint(raced.connection, point) as stop,
        asyncio.TaskGroup() as group,
    ):
        call = group.create_task(first.create(wanted, NOW))
        await stop.reached(call)
        retry = group.create_task(second.create(wanted, NOW))
        await stop.done_or_waiting(retry, "rival")
        await stop.go_on()

        assert await call == await retry
        assert await raced.statuses(1) == {"awaiting payment": 1}
        assert await raced.broken() == []


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="killed-") as parent:
        Path(parent).chmod(0o755)  # PostgreSQL does not run as root, and its user has to get there
        yield Path(parent) / "postgres"


async def test_an_answer_outlives_a_kill_of_the_server_and_what_had_none_is_done_once(folder: Path) -> None:
    [port] = free_ports(1)
    wanted = [order(1, request_id=uuid4()) for _ in range(part(500))]
    units = len(wanted) // 2
    async with embedded_postgres(folder, port, databases=()) as server:
        await migrate(server.admin_url, "-", ROOT / "sql" / "loms" / "migrations")
        async with opened(server.admin_url, {1: units}) as raced, raced.storage() as storage:
            await raced.fill()
            calls = [asyncio.create_task(storage.create(one, NOW)) for one in wanted]
            for call in islice(asyncio.as_completed(calls), len(calls) // 4):
                await call
            os.kill(server.pid, signal.SIGKILL)
            before = await asyncio.gather(*calls, return_exceptions=True)
    async with embedded_postgres(folder, port, databases=()) as server, opened(server.admin_url, {1: units}) as raced:
        async with raced.storage() as storage:
            after = await asyncio.gather(*(storage.create(one, NOW) for one in wanted))

        lost = [isinstance(one, UnavailableError) for one in before]
        assert any(lost)
        assert [now for now, unknown in zip(after, lost, strict=True) if not unknown] == [
            then for then, unknown in zip(before, lost, strict=True) if not unknown
        ]
        assert await raced.statuses(1) == {"awaiting payment": units, "failed": len(wanted) - units}
        assert await raced.broken() == []
