"""The cart as the course tests it, for real: two processes with two Redis, with a slow catalogue behind them."""

import asyncio
import itertools
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import grpc
from marketplace.cart.v1 import cart_pb2 as pb
from marketplace.cart.v1.cart_pb2_grpc import CartServiceStub
from marketplace.loms.v1 import loms_pb2
from marketplace.loms.v1.loms_pb2_grpc import add_LomsServiceServicer_to_server
from marketplace.product.v1 import product_pb2
from marketplace.product.v1.product_pb2_grpc import add_ProductServiceServicer_to_server
from redis.asyncio import Redis

from services.chassis.errors import AppError, ResourceExhaustedError
from services.chassis.server import Context, servicer, serving
from services.loms.servicer import LomsServicer
from services.product.servicer import ProductServicer
from tests.cache.starts import most_in_a_window
from tests.marketplace import UNLIMITED, free_ports, started
from tests.postgres import create_database
from tests.redis import RedisServer, running_redis
from tests.reliability.report import Finding, Scenario
from tests.settings import AnySettings

CARTS = 2
SKUS = range(1001, 1101)
CALLS_SKU, BURST_SKU, REFUSED_SKU = 10_001, 20_001, 30_001
LISTED = 17
LATENCY_SECONDS = 0.1
SECONDS = 60
CALLERS = 20
CALLS, CALLERS_OF_ONE = 70, 11
BURST = 50
COLD_SECONDS, WARM_SECONDS = 11.0, 0.05
LOAD_SECONDS = 20
FRESH_SECONDS = 60
PER_SECOND = 40
LINES = 10
FORGET = "for _, name in ipairs(redis.call('KEYS', 'cache/*')) do redis.call('DEL', name) end"


@dataclass
class SlowCatalogue(ProductServicer):
    """The catalogue, with every sku. It takes its time, and remembers when somebody has come."""

    latency: float = LATENCY_SECONDS
    starts: list[float] = field(default_factory=list)
    running: int = 0
    most: int = 0
    refuses: AppError | None = None

    async def GetProduct(
        self, request: product_pb2.GetProductRequest, context: Context
    ) -> product_pb2.GetProductResponse:
        self.starts.append(time.monotonic())
        if self.refuses is not None:
            raise self.refuses
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.latency)
            return product_pb2.GetProductResponse(sku=request.sku, name="a product", price=price_of(request.sku))
        finally:
            self.running -= 1

    def forget(self) -> None:
        self.starts.clear()
        self.most = 0


class EndlessStock(LomsServicer):
    """LOMS, with as much of every sku as anybody wants."""

    def __init__(self) -> None:
        pass

    async def StocksInfo(self, request: loms_pb2.StocksInfoRequest, context: Context) -> loms_pb2.StocksInfoResponse:
        return loms_pb2.StocksInfoResponse(count=2**40)


def price_of(sku: int) -> int:
    return sku % 1000 + 1


@dataclass(frozen=True)
class Shop:
    """Two carts, and what is behind them."""

    carts: Sequence[CartServiceStub]
    catalogue: SlowCatalogue
    redis: Sequence[RedisServer]
    clients: Sequence[Any]
    """Of each Redis."""

    async def forget(self) -> None:
        """Empties the cache. What the carts know of the rate stays."""
        for client in self.clients:
            await client.eval(FORGET, 0)

    async def fill(self, user_id: int, skus: Sequence[int]) -> None:
        """Puts one of each into the user's cart, through the first of the carts only, which remembers them then."""
        first = self.carts[0]
        await asyncio.gather(
            *(first.ItemAdd(pb.ItemAddRequest(user_id=user_id, sku=sku, count=1), timeout=30) for sku in skus)
        )


@asynccontextmanager
async def shop(server: str, folder: Path, **settings: str) -> AsyncIterator[Shop]:
    """Two carts as processes, which share two Redis and a database on this server."""
    catalogue = SlowCatalogue()
    with running_redis(2) as redis:
        async with AsyncExitStack() as stack:
            stock = servicer(add_LomsServiceServicer_to_server, EndlessStock())
            loms_port = await stack.enter_async_context(serving(AnySettings(), stock))
            database = await create_database(server)
            registered = servicer(add_ProductServiceServicer_to_server, catalogue)
            serves = serving(AnySettings(), registered, known_tokens=["testtoken"])
            product_port = await stack.enter_async_context(serves)
            common = {
                "CART_LOMS_ADDRESS": f"127.0.0.1:{loms_port}",
                "CART_PRODUCT_ADDRESS": f"127.0.0.1:{product_port}",
                "CART_REDIS_URLS": ",".join(server.url for server in redis),
                "CART_REPLICAS": str(CARTS),
                "CART_STORAGE": "postgres",
                "CART_DATABASE_URL": database,
                "CART_DATABASE_DIRECT_URL": database,
                "CART_LOG_LEVEL": "warning",
                **settings,
            }
            carts = [await started_cart(stack, folder / f"cart-{number}", common) for number in range(CARTS)]
            clients: list[Any] = [Redis.from_url(server.url) for server in redis]
            for client in clients:
                stack.push_async_callback(client.aclose)
            yield Shop(carts, catalogue, redis, clients)


async def started_cart(stack: AsyncExitStack, log: Path, common: Mapping[str, str]) -> CartServiceStub:
    port, side_port = free_ports(2)
    own = {"CART_LISTEN": f"127.0.0.1:{port}", "CART_SIDE_LISTEN": f"127.0.0.1:{side_port}"}
    program = stack.enter_context(started(log, sys.executable, "-m", "services.cart", **own, **common))
    await asyncio.to_thread(program.answer, f"http://127.0.0.1:{side_port}/readyz")
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
    return CartServiceStub(channel)


async def timed(call: Awaitable[object]) -> float:
    """How many seconds it takes."""
    begun_at = time.monotonic()
    await call
    return time.monotonic() - begun_at


async def ended(call: Awaitable[object]) -> str:
    """The code with which it ends."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def course(server: str, folder: Path) -> Finding:
    async with shop(server, folder) as found:
        catalogue, (_, cart) = found.catalogue, found.carts
        await found.fill(1, SKUS[:LISTED])
        await found.forget()
        catalogue.forget()
        cold = await timed(cart.List(pb.ListRequest(user_id=1), timeout=15))
        at_once = catalogue.most
        warm = min([await timed(cart.List(pb.ListRequest(user_id=1))) for _ in range(5)])

        catalogue.forget()
        codes = await one_by_one(cart)
        burst = (add(cart, sku) for sku in range(BURST_SKU, BURST_SKU + BURST))
        codes.update(await asyncio.gather(*map(ended, burst)))
        fullest = most_in_a_window(catalogue.starts, 1)

        catalogue.forget()
        catalogue.refuses = ResourceExhaustedError("enough")
        refused = await ended(add(cart, REFUSED_SKU))
        attempts = len(catalogue.starts)
    told = [
        f"{LISTED} skus in {cold:.1f} s cold (limit 11), {warm * 1000:.0f} ms warm (limit 50), {at_once} at once",
        f"{CALLS} requests of {CALLERS_OF_ONE} callers and {BURST} at once: {dict(codes)}",
        f"at most {fullest} starts in a second",
        f"refused: {refused} after {attempts} attempts",
    ]
    is_kept = cold <= COLD_SECONDS and warm <= WARM_SECONDS and at_once <= 5 and fullest <= 10
    is_kept &= set(codes) == {"OK"} and (refused, attempts) == ("RESOURCE_EXHAUSTED", 4)
    return Finding("; ".join(told), is_kept=is_kept)


async def add(cart: CartServiceStub, sku: int) -> None:
    """Adds a product to a cart of its own: a new one has to be asked for."""
    await cart.ItemAdd(pb.ItemAddRequest(user_id=sku, sku=sku, count=1), timeout=15)


async def one_by_one(cart: CartServiceStub) -> Counter[str]:
    """How the requests end that callers make one after the other, each for another product."""
    left = iter(range(CALLS_SKU, CALLS_SKU + CALLS))
    codes: Counter[str] = Counter()

    async def caller() -> None:
        for sku in left:
            codes[await ended(add(cart, sku))] += 1

    await asyncio.gather(*(caller() for _ in range(CALLERS_OF_ONE)))
    return codes


async def shared_rate(server: str, folder: Path) -> Finding:
    codes: Counter[str] = Counter()
    async with shop(server, folder) as found:
        stop = time.monotonic() + SECONDS
        new_skus = itertools.count(CALLS_SKU)

        async def caller(cart: CartServiceStub) -> None:
            while time.monotonic() < stop:
                codes[await ended(add(cart, next(new_skus)))] += 1

        await asyncio.gather(*(caller(cart) for cart in found.carts for _ in range(CALLERS)))
        starts = found.catalogue.starts
    fullest = most_in_a_window(starts, 1)
    told = f"{len(starts)} calls of the catalogue, at most {fullest} in any second; requests: {dict(codes)}"
    is_used = len(starts) >= 0.6 * 10 * SECONDS
    return Finding(told, is_kept=fullest <= 10 and is_used and set(codes) == {"OK"})


async def dead_shard(server: str, folder: Path) -> Finding:
    """The carts have a limit that nobody reaches: what is lost has to be asked for again."""
    async with shop(server, folder, CART_PRODUCT_RATE_LIMIT=str(UNLIMITED)) as found:
        found.catalogue.latency = 0
        await found.fill(1, SKUS[:LINES])
        before = await load(found.carts, LOAD_SECONDS)
        found.redis[0].kill()
        after = await load(found.carts, FRESH_SECONDS + LOAD_SECONDS)
    errors, wrong = before.errors + after.errors, before.wrong + after.wrong
    told = [
        f"{before.calls + after.calls} lists: errors {errors}, wrong {wrong}",
        f"p99 {before.p99:.1f} ms before and {after.p99:.1f} ms after (limit twice)",
    ]
    return Finding("; ".join(told), is_kept=errors == wrong == 0 and after.p99 <= 2 * before.p99)


@dataclass(frozen=True)
class Loaded:
    """What came of lists at a steady rate. Times are in milliseconds."""

    calls: int
    errors: int
    wrong: int
    p99: float


async def load(carts: Sequence[CartServiceStub], seconds: float) -> Loaded:
    """Lists at a steady rate, in turns from each cart."""
    took: list[float] = []
    outcomes: Counter[str] = Counter()
    expected = [(sku, price_of(sku)) for sku in SKUS[:LINES]]

    async def ask(cart: CartServiceStub) -> None:
        begun_at = time.monotonic()
        try:
            answer = await cart.List(pb.ListRequest(user_id=1))
        except grpc.aio.AioRpcError:
            outcomes["errors"] += 1
            return
        took.append((time.monotonic() - begun_at) * 1000)
        outcomes["wrong"] += [(item.sku, item.price) for item in answer.items] != expected

    begun_at = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(round(seconds * PER_SECOND)):
            await asyncio.sleep(begun_at + number / PER_SECOND - time.monotonic())
            group.create_task(ask(carts[number % len(carts)]))
    return Loaded(len(took), outcomes["errors"], outcomes["wrong"], quantiles(took, n=100)[98])


CARTS_AND_CACHE: Mapping[str, Scenario] = {
    "course": Scenario(
        f"the catalogue takes 100 ms for a call, and 10 a second: a list of {LISTED}, {CALLS} requests of "
        f"{CALLERS_OF_ONE} callers, {BURST} requests at once, and a catalogue that refuses",
        course,
    ),
    "shared-rate": Scenario(f"R-50: for {SECONDS} s two carts want more of the catalogue than they get", shared_rate),
    "dead-shard": Scenario(
        f"{PER_SECOND} lists of {LINES} skus a second; one of two Redis is killed, and all that was fresh grows old",
        dead_shard,
    ),
}
