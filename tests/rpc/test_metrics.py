"""Metrics of the services, over real servers: what they count, and that callers cannot make them grow."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import grpc
import pytest
from marketplace.cart.v1 import cart_pb2
from marketplace.cart.v1.cart_pb2_grpc import CartServiceStub
from marketplace.loms.v1 import loms_pb2
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub
from marketplace.notifier.v1 import notifier_pb2
from marketplace.notifier.v1.notifier_pb2_grpc import NotifierServiceStub
from marketplace.product.v1 import product_pb2
from marketplace.product.v1.product_pb2_grpc import ProductServiceStub, add_ProductServiceServicer_to_server
from prometheus_client import REGISTRY

from services.cart.memory import MemoryStorage
from services.cart.usecases import Cart, Item
from services.chassis.background import background
from services.chassis.bus import InProcessTopic, Message, ObservedConsumer, Received
from services.chassis.circuit_breaker import FAILURES
from services.chassis.client import client
from services.chassis.errors import OverloadedError, UnavailableError
from services.chassis.log import get_logger
from services.chassis.metrics import exposition
from services.chassis.postgres import database, open_pool
from services.chassis.redis_shards import redis_shards
from services.chassis.server import servicer, serving
from services.loms.__main__ import loms
from services.loms.memory import MemoryStorage as OrderStorage
from services.loms.memory import Stock
from services.loms.postgres import PostgresStorage
from services.loms.relay import Relay
from services.loms.usecases import Backlog, NewOrder
from services.loms.usecases import Item as LomsItem
from tests.marketplace import free_ports
from tests.postgres import migrated_database
from tests.redis import running_redis
from tests.rpc import products
from tests.rpc.expect import error_of
from tests.rpc.products import Products
from tests.settings import FREE, AnySettings, LomsSettings
from tests.waiting import until

SKU = 1076963
AT_ONCE = 50
TOPIC = "loms.order-events"


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Growth:
    """By how much metrics grow."""

    def __init__(self, *samples: tuple[str, dict[str, str]]) -> None:
        self._samples = samples
        self._before = self._values()

    def _values(self) -> list[float]:
        return [value(name, **labels) for name, labels in self._samples]

    def now(self) -> list[float]:
        return [after - before for before, after in zip(self._before, self._values(), strict=True)]

    async def reaches(self, *expected: float) -> None:
        async def is_reached() -> bool:
            return self.now() == list(expected)

        try:
            await until(is_reached, 5)
        except TimeoutError:
            assert self.now() == list(expected)


def served(service: str, method: str, code: str) -> tuple[str, dict[str, str]]:
    labels = {"rpc_service": service, "rpc_method": method, "rpc_code": code}
    return "rpc_server_duration_seconds_count", labels


def called(service: str, method: str, code: str) -> tuple[str, dict[str, str]]:
    return "rpc_client_duration_seconds_count", served(service, method, code)[1]


def new_order(count: int = 1, request_id: str | None = None) -> loms_pb2.OrderCreateRequest:
    items = [loms_pb2.OrderItem(sku=SKU, count=count)]
    return loms_pb2.OrderCreateRequest(user_id=1, items=items, request_id=request_id)


async def test_a_call_counts_by_how_it_ends(loms_stub: LomsServiceStub) -> None:
    growth = Growth(
        served("LomsService", "StocksInfo", "OK"),
        served("LomsService", "StocksInfo", "NOT_FOUND"),
        served("LomsService", "StocksInfo", "INVALID_ARGUMENT"),
        ("rpc_server_active_calls", {"rpc_service": "LomsService", "rpc_method": "StocksInfo"}),
    )
    await loms_stub.StocksInfo(loms_pb2.StocksInfoRequest(sku=SKU))
    await error_of(loms_stub.StocksInfo(loms_pb2.StocksInfoRequest(sku=5)))
    await error_of(loms_stub.StocksInfo(loms_pb2.StocksInfoRequest()))

    await growth.reaches(1, 1, 1, 0)


async def test_a_call_that_runs_is_active_and_one_that_is_given_up_is_cancelled() -> None:
    catalogue = Products(hangs=True)
    served_by_us = servicer(add_ProductServiceServicer_to_server, catalogue)
    labels = {"rpc_service": "ProductService", "rpc_method": "GetProduct"}
    async with (
        serving(AnySettings(), served_by_us, known_tokens=["t"]) as port,
        client(ProductServiceStub, f"127.0.0.1:{port}", "product", "t") as stub,
    ):
        growth = Growth(
            ("rpc_server_active_calls", labels),
            called("ProductService", "GetProduct", "CANCELLED"),
            served("ProductService", "GetProduct", "CANCELLED"),
        )
        call = asyncio.ensure_future(stub.GetProduct(product_pb2.GetProductRequest(sku=1)))
        await growth.reaches(1, 0, 0)
        call.cancel()
        await asyncio.wait([call])
        await growth.reaches(0, 1, 1)


async def test_each_attempt_and_each_retry_counts() -> None:
    catalogue = Products(failures=[OverloadedError("later", 0.001)])
    growth = Growth(
        called("ProductService", "GetProduct", "RESOURCE_EXHAUSTED"),
        called("ProductService", "GetProduct", "OK"),
        ("rpc_client_retries_total", {"rpc_service": "ProductService", "rpc_method": "GetProduct"}),
        ("rate_limiter_wait_seconds_count", {"rpc_service": "ProductService", "rpc_method": "GetProduct"}),
    )
    async with (
        products.serving(catalogue) as (port, _),
        client(ProductServiceStub, f"127.0.0.1:{port}", "product") as stub,
    ):
        await stub.GetProduct(product_pb2.GetProductRequest(sku=1))

    assert growth.now() == [1, 1, 1, 2]


async def test_a_circuit_is_open_while_nothing_is_let_through() -> None:
    [port] = free_ports(1)
    async with client(LomsServiceStub, f"127.0.0.1:{port}", "loms") as stub:
        growth = Growth(("rpc_client_circuit_open", {"rpc_service": "LomsService"}))
        for _ in range(FAILURES + 2):
            with pytest.raises(UnavailableError):
                await stub.OrderPay(loms_pb2.OrderPayRequest(order_id=1))
        assert growth.now() == [1]
    assert growth.now() == [0]


def statuses(*names: str) -> Growth:
    return Growth(*(("loms_orders_total", {"status": name}) for name in names))


async def order_life(stub: LomsServiceStub) -> None:
    """Two orders, one of them asked for twice, and one that is refused; one is paid, twice."""
    request_id = str(uuid4())
    first = await stub.OrderCreate(new_order(request_id=request_id))
    assert (await stub.OrderCreate(new_order(request_id=request_id))).order_id == first.order_id
    second = await stub.OrderCreate(new_order())
    await error_of(stub.OrderCreate(new_order(count=65_535)))
    await stub.OrderPay(loms_pb2.OrderPayRequest(order_id=first.order_id))
    await stub.OrderPay(loms_pb2.OrderPayRequest(order_id=first.order_id))
    await stub.OrderCancel(loms_pb2.OrderCancelRequest(order_id=second.order_id))


ALL = ("new", "awaiting payment", "failed", "payed", "cancelled")


async def test_each_status_of_an_order_counts_once_and_a_replay_does_not(loms_stub: LomsServiceStub) -> None:
    growth = statuses(*ALL)
    await order_life(loms_stub)

    assert growth.now() == [3, 2, 1, 1, 1]


@asynccontextmanager
async def loms_on_postgres(server: str) -> AsyncIterator[LomsServiceStub]:
    dsn = await migrated_database(server, "loms")
    settings = LomsSettings(
        listen=FREE, side_listen=FREE, storage="postgres", database_url=dsn, database_direct_url=dsn
    )
    async with loms(settings) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield LomsServiceStub(channel)


async def test_orders_and_queries_count_on_postgres_too(server: str) -> None:
    def query(name: str, category: str, outcome: str = "ok") -> tuple[str, dict[str, str]]:
        return "db_client_duration_seconds_count", {"query": name, "category": category, "outcome": outcome}

    orders = statuses(*ALL)
    queries = Growth(query("CreateOrder", "insert"), query("OrderOfRequest", "select"), query("ChangeOrder", "update"))
    async with loms_on_postgres(server) as stub:
        await order_life(stub)
        await queries.reaches(4, 1, 3)
        assert value("db_client_connections_max", pool="primary") == 10
        idle, used = (value("db_client_connections", pool="primary", state=state) for state in ("idle", "used"))
        assert idle >= 1
        assert 0 <= used <= 9

    assert orders.now() == [3, 2, 1, 1, 1]
    assert REGISTRY.get_sample_value("db_client_connections_max", {"pool": "primary"}) is None


async def test_a_query_that_fails_is_an_error(server: str) -> None:
    growth = Growth(
        ("db_client_duration_seconds_count", {"query": "Nonsense", "category": "delete", "outcome": "error"})
    )
    async with await open_pool(server, 1, is_pooled=False) as pool:
        with pytest.raises(Exception, match="no_such_table"):
            await pool.fetch("-- name: Nonsense :exec\nDELETE FROM no_such_table")
        await growth.reaches(1)


@pytest.mark.usefixtures("notifier_stub")
async def test_events_count_from_the_outbox_to_the_notification(loms_stub: LomsServiceStub) -> None:
    ok = {"topic": TOPIC, "outcome": "ok"}
    growth = Growth(
        ("messaging_published_messages_total", ok),
        ("messaging_processed_messages_total", ok),
        ("notifier_notifications_total", {"status": "new"}),
        ("notifier_notifications_total", {"status": "awaiting payment"}),
        ("notifier_dead_letters_total", {}),
    )
    await loms_stub.OrderCreate(new_order())

    await growth.reaches(2, 2, 1, 1, 0)
    assert value("messaging_publish_duration_seconds_count", **ok) >= 1
    assert value("messaging_process_duration_seconds_count", **ok) >= 1
    assert REGISTRY.get_sample_value("messaging_consumer_lag", {"topic": TOPIC, "partition": "0"}) == 0


async def test_the_relay_that_leads_tells_how_much_there_is_to_send_and_for_how_long() -> None:
    storage = OrderStorage({SKU: Stock(10, 0)})
    relay = Relay(storage, InProcessTopic(), 1, get_logger("loms"))
    created = datetime.now(UTC) - timedelta(seconds=100)
    await storage.create(NewOrder(1, (LomsItem(SKU, 1),)), created)
    with relay.measured():
        await relay.measure()
        assert REGISTRY.get_sample_value("outbox_events") is None
        await relay.lead()
        await relay.measure()
        assert value("outbox_events") == 2
        assert 100 <= value("outbox_oldest_seconds") < 200
        await relay.stop()
        await relay.measure()
        assert REGISTRY.get_sample_value("outbox_events") is None


async def test_the_outbox_on_postgres_tells_how_much_there_is(server: str) -> None:
    dsn = await migrated_database(server, "loms")
    async with database(dsn, "TEST", get_logger("loms"), 2) as connected:
        storage = PostgresStorage(connected, connected)
        assert await storage.backlog() == Backlog(0, 0)
        for seconds in (100, 50):
            await storage.create(NewOrder(1, (LomsItem(5, 1),)), datetime.now(UTC) - timedelta(seconds=seconds))
        found = await storage.backlog()

    assert found.events == 4
    assert 100 <= found.oldest_seconds < 200


async def test_what_a_consumer_has_not_handled_is_its_lag() -> None:
    topic, begun, go_on = InProcessTopic(retry_seconds=0.001), asyncio.Event(), asyncio.Event()
    growth = Growth(
        ("messaging_processed_messages_total", {"topic": "tested", "outcome": "error"}),
        ("messaging_consumer_lag", {"topic": "tested", "partition": "1"}),
    )

    async def handle(batch: Sequence[Received]) -> None:
        if not begun.is_set():
            begun.set()
            await go_on.wait()
            raise ValueError(len(batch))

    observed = ObservedConsumer(topic, "tested", "notifier")
    async with background(lambda: observed.consume(handle, get_logger("tested"))):
        await asyncio.sleep(0)  # the consumer begins
        await topic.publish([Message(b"1", b"a"), Message(b"1", b"b"), Message(b"1", b"c")])
        await begun.wait()
        assert growth.now() == [0, 3]
        go_on.set()
        await growth.reaches(3, 0)


async def test_each_command_to_a_shard_counts_and_what_a_shard_does_not_take_is_an_error() -> None:
    def commands(shard: int, command: str, outcome: str) -> tuple[str, dict[str, str]]:
        labels = {"shard": str(shard), "command": command, "outcome": outcome}
        return "redis_client_duration_seconds_count", labels

    [port] = free_ports(1)
    with running_redis(1) as [there]:
        growth = Growth(commands(0, "SET", "ok"), commands(1, "SET", "error"), ("cache_errors_total", {}))
        async with redis_shards([there.url, f"redis://127.0.0.1:{port}"], get_logger("cart")) as shards:
            first, second = shards.all
            names = {shards.shard_of(name): name for name in map(str, range(100))}
            await shards.write(names[first], b"1", 10)
            await shards.write(names[second], b"1", 10)

    assert growth.now() == [1, 1, 1]


async def test_the_in_memory_cart_tells_what_it_holds() -> None:
    storage = MemoryStorage()
    for user_id, sku in ((1, 1), (1, 1), (1, 2), (2, 1), (2, 2), (3, 1)):
        await storage.add(user_id, Item(sku, 2), 10, 10)
    assert storage.objects() == {("cart",): 3, ("line",): 5}

    await storage.delete(1, 1)
    await storage.delete(1, 1)
    await storage.clear(3)
    ordered = await storage.cart(2)
    await storage.finish_checkout(Cart(2, ordered.version, (Item(1, 2), Item(2, 1))), 1, None, datetime.now(UTC))
    assert storage.objects() == {("cart",): 3, ("line",): 2}
    assert storage.objects()["line",] == sum([len((await storage.cart(user_id)).items) for user_id in (1, 2, 3)])


async def test_the_cache_tells_hits_and_misses(cart_stub: CartServiceStub) -> None:
    labels = {"rpc_service": "ProductService", "rpc_method": "GetProduct"}
    growth = Growth(
        ("cache_requests_total", labels | {"result": "miss"}), ("cache_requests_total", labels | {"result": "hit"})
    )
    add = cart_pb2.ItemAddRequest(user_id=1, sku=SKU, count=1)
    await cart_stub.ItemAdd(add)
    await cart_stub.ItemAdd(add)

    assert growth.now() == [1, 1]


def some_call(
    number: int, cart: CartServiceStub, orders: LomsServiceStub, notifications: NotifierServiceStub
) -> Awaitable[object]:
    """A call with a user, a sku and a request id that no other one has."""
    unique, metadata = number + 1, (("x-request-id", f"r{number}"), ("x-path", f"/{number}"))
    match number % 4:
        case 0:
            return orders.StocksInfo(loms_pb2.StocksInfoRequest(sku=unique), metadata=metadata)
        case 1:
            return cart.List(cart_pb2.ListRequest(user_id=unique), metadata=metadata)
        case 2:
            items = [loms_pb2.OrderItem(sku=unique, count=1)]
            order = loms_pb2.OrderCreateRequest(user_id=unique, items=items, request_id=str(uuid4()))
            return orders.OrderCreate(order, metadata=metadata)
        case _:
            asked = notifier_pb2.ListNotificationsRequest(order_id=unique)
            return notifications.ListNotifications(asked, metadata=metadata)


@pytest.mark.parametrize("calls", [500, pytest.param(10_000, marks=pytest.mark.long)])
async def test_however_many_users_skus_and_request_ids_add_no_series(
    calls: int, cart_stub: CartServiceStub, loms_stub: LomsServiceStub, notifier_stub: NotifierServiceStub
) -> None:
    async def call(numbers: Iterator[int]) -> None:
        for number in numbers:
            with suppress(grpc.aio.AioRpcError):
                await some_call(number, cart_stub, loms_stub, notifier_stub)

    async def series_after(numbers: range) -> set[str]:
        waiting = iter(numbers)
        await asyncio.gather(*(call(waiting) for _ in range(AT_ONCE)))
        return {line.rpartition(" ")[0] for line in exposition().decode().splitlines()}

    before = await series_after(range(100))
    assert await series_after(range(100, 100 + calls)) == before
    began = time.thread_time()
    exposition()
    assert time.thread_time() - began < 0.05
