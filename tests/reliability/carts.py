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
from marketplace.product.v1 import product_pb2
from marketplace.product.v1.product_pb2_grpc import add_ProductServiceServicer_to_server
from redis.asyncio import Redis

from services.cart.clients import GET_PRODUCT
from services.chassis.clock import utc_now
from services.chassis.errors import AppError, ResourceExhaustedError
from services.chassis.hashing import Rendezvous
from services.chassis.redis_urls import shard_name
from services.chassis.server import Context, servicer, serving
from services.loms.__main__ import loms
from services.loms.seed import seed_stocks
from services.product.servicer import ProductServicer
from services.product.usecases import Catalogue, Product, Throttle
from tests.cache.starts import most_in_a_window
from tests.marketplace import UNLIMITED, free_ports, started
from tests.redis import RedisServer, running_redis
from tests.reliability.report import Finding, Scenario
from tests.settings import FREE, AnySettings, LomsSettings

CARTS = 2
SKUS = sorted(sku for sku, stock in seed_stocks().items() if stock.available > 0)
LISTED = 17
LATENCY_SECONDS = 0.1
SECONDS = 60
CALLERS = 20
CALLS, CALLERS_OF_ONE = 70, 11
BURST = 50
COLD_SECONDS, WARM_SECONDS = 11.0, 0.05
LOAD_SECONDS = 20
PER_SECOND = 40
LINES = 10
FORGET = "for _, name in ipairs(redis.call('KEYS', 'cache/*')) do redis.call('DEL', name) end"


@dataclass
class SlowCatalogue(ProductServicer):
    """The catalogue. It takes its time, and remembers who has come when."""

    latency: float = LATENCY_SECONDS
    starts: list[float] = field(default_factory=list)
    skus: set[int] = field(default_factory=set)
    running: int = 0
    most: int = 0
    refuses: AppError | None = None

    def __post_init__(self) -> None:
        products = [Product(sku, f"product {sku}", sku % 1000 + 1) for sku in SKUS]
        super().__init__(Catalogue(products, Throttle(0, utc_now)))

    async def GetProduct(
        self, request: product_pb2.GetProductRequest, context: Context
    ) -> product_pb2.GetProductResponse:
        self.starts.append(time.monotonic())
        self.skus.add(request.sku)
        if self.refuses is not None:
            raise self.refuses
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.latency)
            return await super().GetProduct(request, context)
        finally:
            self.running -= 1

    def forget(self) -> None:
        self.starts.clear()
        self.skus.clear()
        self.most = 0


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
        """Puts one of each into the user's carts."""
        for cart in self.carts:
            await asyncio.gather(
                *(cart.ItemAdd(pb.ItemAddRequest(user_id=user_id, sku=sku, count=1), timeout=30) for sku in skus)
            )


@asynccontextmanager
async def shop(folder: Path, **settings: str) -> AsyncIterator[Shop]:
    """Two carts as processes, which share two Redis."""
    catalogue = SlowCatalogue()
    with running_redis(2) as redis:
        async with AsyncExitStack() as stack:
            loms_port = await stack.enter_async_context(loms(LomsSettings(listen=FREE, side_listen=FREE)))
            registered = servicer(add_ProductServiceServicer_to_server, catalogue)
            serves = serving(AnySettings(), registered, known_tokens=["testtoken"])
            product_port = await stack.enter_async_context(serves)
            common = {
                "CART_LOMS_ADDRESS": f"127.0.0.1:{loms_port}",
                "CART_PRODUCT_ADDRESS": f"127.0.0.1:{product_port}",
                "CART_REDIS_URLS": ",".join(server.url for server in redis),
                "CART_REPLICAS": str(CARTS),
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


async def course(_server: str, folder: Path) -> Finding:
    async with shop(folder) as found:
        catalogue, cart = found.catalogue, found.carts[0]
        await found.fill(1, SKUS[:LISTED])
        await found.forget()
        catalogue.forget()
        cold = await timed(cart.List(pb.ListRequest(user_id=1), timeout=15))
        at_once = catalogue.most
        warm = min([await timed(cart.List(pb.ListRequest(user_id=1))) for _ in range(5)])

        codes = await one_by_one(found)
        await found.forget()
        burst = (cart.ItemAdd(pb.ItemAddRequest(user_id=3, sku=sku, count=1), timeout=15) for sku in around(BURST))
        codes.update(await asyncio.gather(*map(ended, burst)))
        fullest = most_in_a_window(catalogue.starts, 1)

        await found.forget()
        catalogue.forget()
        catalogue.refuses = ResourceExhaustedError("enough")
        refused = await ended(cart.ItemAdd(pb.ItemAddRequest(user_id=3, sku=SKUS[0], count=1), timeout=15))
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


def around(count: int) -> list[int]:
    """So many skus: all of them, again and again."""
    return list(itertools.islice(itertools.cycle(SKUS), count))


async def one_by_one(found: Shop) -> Counter[str]:
    """How the requests end that callers make one after the other, each for a product that is not remembered."""
    left = iter(around(CALLS))
    codes: Counter[str] = Counter()

    async def caller() -> None:
        for sku in left:
            await found.forget()
            codes[await ended(found.carts[0].ItemAdd(pb.ItemAddRequest(user_id=2, sku=sku, count=1), timeout=15))] += 1

    await asyncio.gather(*(caller() for _ in range(CALLERS_OF_ONE)))
    return codes


async def shared_rate(_server: str, folder: Path) -> Finding:
    codes: Counter[str] = Counter()
    async with shop(folder) as found:
        stop = time.monotonic() + SECONDS
        numbers = itertools.count()

        async def caller(cart: CartServiceStub) -> None:
            while time.monotonic() < stop:
                number = next(numbers)
                if number % len(SKUS) == 0:
                    await found.forget()
                request = pb.ItemAddRequest(user_id=number + 1, sku=SKUS[number % len(SKUS)], count=1)
                codes[await ended(cart.ItemAdd(request, timeout=15))] += 1

        await asyncio.gather(*(caller(cart) for cart in found.carts for _ in range(CALLERS)))
        starts = found.catalogue.starts
    fullest = most_in_a_window(starts, 1)
    told = f"{len(starts)} calls of the catalogue, at most {fullest} in any second; requests: {dict(codes)}"
    is_used = len(starts) >= 0.6 * 10 * SECONDS
    return Finding(told, is_kept=fullest <= 10 and is_used and not set(codes) - {"OK", "FAILED_PRECONDITION"})


async def dead_shard(_server: str, folder: Path) -> Finding:
    """The carts have a limit that nobody reaches: what is lost has to be asked for again."""
    async with shop(folder, CART_PRODUCT_RATE_LIMIT=str(UNLIMITED)) as found:
        found.catalogue.latency = 0
        skus = SKUS[:LINES]
        await found.fill(1, skus)
        before = await load(found.carts)
        found.catalogue.forget()
        found.redis[0].kill()
        after = await load(found.carts)
        names = {server: shard_name(server.url) for server in found.redis}
        placed = Rendezvous(names.values())
        lost = {sku for sku in skus if placed.node(f"cache/1{GET_PRODUCT}/{sku}") == names[found.redis[0]]}
        asked, again = len(found.catalogue.starts), found.catalogue.skus
    errors, wrong = before.errors + after.errors, before.wrong + after.wrong
    told = [
        f"{before.calls + after.calls} lists: errors {errors}, wrong {wrong}",
        f"p99 {before.p99:.1f} ms before and {after.p99:.1f} ms after (limit twice)",
        f"the catalogue was asked {asked} times for the {len(lost)} lost skus of {LINES}, and never for the others",
    ]
    is_kept = errors == wrong == 0 and after.p99 <= 2 * before.p99 and again <= lost
    return Finding("; ".join(told), is_kept=is_kept and asked <= 2 * CARTS * len(lost))


@dataclass(frozen=True)
class Loaded:
    """What came of lists at a steady rate. Times are in milliseconds."""

    calls: int
    errors: int
    wrong: int
    p99: float


async def load(carts: Sequence[CartServiceStub]) -> Loaded:
    """Lists at a steady rate, in turns from each cart."""
    took: list[float] = []
    outcomes: Counter[str] = Counter()
    expected = [(sku, sku % 1000 + 1) for sku in SKUS[:LINES]]

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
        for number in range(LOAD_SECONDS * PER_SECOND):
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
        f"{PER_SECOND} lists of {LINES} skus a second, {LOAD_SECONDS} s before and after one of two Redis is killed",
        dead_shard,
    ),
}
