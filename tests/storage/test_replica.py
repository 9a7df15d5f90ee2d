"""Reads from the replica: what was written is there, and without the replica they go on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeAlias, TypeVar

import grpc
import pytest
from marketplace.loms.v1 import loms_pb2 as pb
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub
from pydantic import SecretStr

from services.chassis.clock import utc_now
from services.chassis.log import get_logger
from services.chassis.postgres import Database, ReadConnection, database
from services.chassis.replica import Replica
from services.chassis.settings import StartError
from services.loms.__main__ import LomsSettings, loms
from services.loms.postgres import PostgresStorage
from services.loms.usecases import CANCEL, PAY, Item, NewOrder, Status
from services.replication import change
from tests import replica as servers
from tests.postgres import migrated_database, session
from tests.replica import running_replicated
from tests.settings import FREE
from tests.storage.races import part
from tests.waiting import until

T = TypeVar("T")

CLIENTS, ORDERS = 8, part(250)
"""Each order is read after it was created and after it was paid or cancelled."""
SKU = 1
DEADLINE_SECONDS = 0.5

REPLICA, PRIMARY = "reads go to the replica", "reads go to the primary"


@pytest.fixture(scope="module")
def replicated() -> Iterator[tuple[str, servers.Replica]]:
    with running_replicated() as running:
        yield running


@pytest.fixture
async def dsn(replicated: tuple[str, servers.Replica]) -> str:
    """An empty database of LOMS."""
    made = await migrated_database(replicated[0], "loms")
    async with session(made) as connection:
        await connection.execute(
            "INSERT INTO stocks SELECT sku, 1000000, 0 FROM generate_series(1, $1) AS sku", CLIENTS
        )
    return made


@pytest.fixture
def replica(replicated: tuple[str, servers.Replica]) -> servers.Replica:
    return replicated[1]


class Counted:
    """A database that counts what is read from it."""

    def __init__(self, counted: Database) -> None:
        self._counted = counted
        self.reads = 0

    async def read(self, work: Callable[[ReadConnection], Awaitable[T]]) -> T:
        self.reads += 1
        return await self._counted.read(work)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Database]:
    async with database(url, "TEST_DATABASE_URL", get_logger("tested"), CLIENTS) as each:
        yield each


async def test_whoever_reads_after_a_write_reads_what_was_written(dsn: str, replica: servers.Replica) -> None:
    async with connected(dsn) as primary, connected(replica.url(dsn)) as copy:
        counted, instead = Counted(copy), Counted(primary)
        reads = Replica(counted, instead, get_logger("tested"))
        await reads.watch()
        instead.reads = 0
        storage = PostgresStorage(primary, reads)
        stale = 0

        async def client(number: int) -> None:
            nonlocal stale
            for index in range(ORDERS):
                order_id = (await storage.create(NewOrder(number, (Item(number, 1),)), utc_now())).order_id
                created = await storage.order(order_id)
                stale += created is None or created.status is not Status.AWAITING_PAYMENT
                end = PAY if index % 2 else CANCEL
                await storage.change(order_id, end, utc_now())
                ended = await storage.order(order_id)
                stale += ended is None or ended.status is not end.target

        await asyncio.gather(*(client(number) for number in range(1, CLIENTS + 1)))

    assert stale == 0
    assert (counted.reads, instead.reads) == (2 * CLIENTS * ORDERS + 1, 0)


async def test_while_commits_do_not_wait_for_the_replica_the_primary_is_read(
    dsn: str, replica: servers.Replica
) -> None:
    async with session(dsn) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = 'on'")
    async with connected(dsn) as primary, connected(replica.url(dsn)) as copy:
        counted = Counted(copy)
        reads = Replica(counted, primary, get_logger("tested"))
        await reads.watch()
        await reads.read(lambda connection: connection.fetchval("SELECT 1"))

    assert counted.reads == 0


Logs: TypeAlias = list[dict[str, object]]


def said(logs: Logs) -> list[object]:
    """What was said of where reads go."""
    return [line["event"] for line in logs if str(line["event"]).startswith("reads go to")]


@asynccontextmanager
async def served(dsn: str, replica: servers.Replica) -> AsyncIterator[LomsServiceStub]:
    """LOMS as it is shipped."""
    settings = LomsSettings(
        listen=FREE,
        side_listen=FREE,
        storage="postgres",
        database_url=SecretStr(dsn),
        database_direct_url=SecretStr(dsn),
        database_read_url=SecretStr(replica.url(dsn)),
        drain_seconds=1,
    )
    async with loms(settings) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield LomsServiceStub(channel)


async def create(stub: LomsServiceStub, seconds: float = 5) -> int:
    request = pb.OrderCreateRequest(user_id=1, items=[pb.OrderItem(sku=SKU, count=1)])
    return (await stub.OrderCreate(request, timeout=seconds)).order_id


async def status_of(stub: LomsServiceStub, order_id: int) -> str:
    return (await stub.OrderInfo(pb.OrderInfoRequest(order_id=order_id), timeout=5)).status


async def code_of(call: Awaitable[object]) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_without_the_replica_reads_go_on_and_writes_do_when_it_is_ignored(
    dsn: str, replica: servers.Replica, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    monkeypatch.setenv("LOMS_DATABASE_ADMIN_URL", dsn)
    async with served(dsn, replica) as stub:
        order_id = await create(stub)
        assert said(logs) == [REPLICA]

        replica.stop()
        writes = asyncio.gather(*(code_of(create(stub, DEADLINE_SECONDS)) for _ in range(20)))
        assert await asyncio.gather(*(status_of(stub, order_id) for _ in range(20))) == ["awaiting payment"] * 20
        assert await writes == [grpc.StatusCode.DEADLINE_EXCEEDED] * 20
        assert said(logs) == [REPLICA, PRIMARY]
        with pytest.raises(StartError, match="no replica streams"):
            await change("await")

        await change("ignore")
        assert await status_of(stub, await create(stub)) == "awaiting payment"

        replica.start()
        await until(is_awaited_again)

        async def is_read_again() -> bool:
            return said(logs)[-1] == REPLICA

        await until(is_read_again)
        assert await status_of(stub, await create(stub)) == "awaiting payment"


async def is_awaited_again() -> bool:
    try:
        await change("await")
    except StartError:
        return False
    return True


async def test_a_service_starts_and_reads_without_its_replica(dsn: str, replica: servers.Replica, logs: Logs) -> None:
    replica.stop()
    try:
        async with served(dsn, replica) as stub:
            assert said(logs) == [PRIMARY]
            assert (await stub.StocksInfo(pb.StocksInfoRequest(sku=SKU))).count == 1_000_000
    finally:
        replica.start()
