"""The cache on real Redis: what processes share, what a shard that is gone costs, what cancelled calls leave behind."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from marketplace.product.v1.product_pb2 import GetProductResponse

from services.cart.clients import GET_PRODUCT
from services.chassis.cache import UNKNOWN_SECONDS, Cache
from services.chassis.contract import rpc
from services.chassis.log import get_logger
from services.chassis.redis_shards import ANSWER_SECONDS, RETRY_SECONDS, RedisShards, Shard, ShardError, redis_shards
from tests.redis import RedisServer, running_redis
from tests.storage.races import part
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("patient")

SKUS = range(1001, 1101)
UNKNOWN_SKU = 404
HANGING_SECONDS = 0.1
"""How long a shard may take here that hangs: so much longer than it has that no other one does."""
LATE_SECONDS = 0.1
"""How much longer than it has to a call may take on a machine that is busy."""
Answer = GetProductResponse | None
Products = Cache[int, GetProductResponse]


def product(sku: int) -> GetProductResponse:
    return GetProductResponse(sku=sku, name=f"product {sku}", price=sku)


class Catalogue:
    """Has every sku but one."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def ask(self, sku: int) -> Answer:
        self.asked.append(sku)
        await asyncio.sleep(0)
        return None if sku == UNKNOWN_SKU else product(sku)


class Clock:
    """The time of the day, and what a test adds to it."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return time.time() + self.passed


def products(shards: RedisShards, catalogue: Catalogue, clock: Clock | None = None) -> Products:
    """A cache that has nothing at hand and looks at the store each time."""
    return Cache(rpc(GET_PRODUCT), GetProductResponse, catalogue.ask, shards, clock or Clock(), at_hand=0)


async def listed(cache: Products, skus: Iterable[int]) -> dict[int, Answer]:
    """What a caller gets who looks first and asks then."""
    found = await cache.found(skus)
    return {sku: found[sku] if sku in found else await cache.loaded(sku) for sku in skus}


async def fill(cache: Products, skus: Iterable[int]) -> None:
    await asyncio.gather(*map(cache.loaded, skus))
    await until(lambda: is_idle(cache))


async def is_idle(cache: Products) -> bool:
    return not cache._tasks


@asynccontextmanager
async def connected(servers: Sequence[RedisServer]) -> AsyncIterator[RedisShards]:
    async with redis_shards([server.url for server in servers], get_logger("tested")) as shards:
        yield shards


async def commands(shard: Shard) -> dict[str, int]:
    """How many there were of each since the statistics were reset."""
    stats = await shard.execute("INFO", "commandstats")
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}


def on(shards: RedisShards, shard: Shard, skus: Iterable[int] = SKUS) -> set[int]:
    """Those of the skus that live on the shard."""
    return {sku for sku in skus if shards.shard_of(f"cache/1{GET_PRODUCT}/{sku}") is shard}


async def test_what_one_process_was_answered_another_one_remembers(
    servers: list[RedisServer], shards: RedisShards
) -> None:
    catalogue, other = Catalogue(), Catalogue()
    async with products(shards, catalogue) as cache, connected(servers) as same, products(same, other) as neighbour:
        assert await cache.found(SKUS) == {}
        await fill(cache, [*SKUS, UNKNOWN_SKU])

        expected = {sku: product(sku) for sku in SKUS} | {UNKNOWN_SKU: None}
        assert await neighbour.found(expected) == expected
        assert other.asked == []
        assert (cache.misses, neighbour.hits, neighbour.misses) == (len(SKUS), len(expected), 0)


async def test_what_is_fresh_is_kept_at_hand(shards: RedisShards) -> None:
    clock, catalogue = Clock(), Catalogue()
    async with Cache(rpc(GET_PRODUCT), GetProductResponse, catalogue.ask, shards, clock, at_hand=len(SKUS)) as cache:
        await fill(cache, SKUS)
        for shard in shards.all:
            await shard.execute("FLUSHALL")
        assert await cache.found(SKUS) == {sku: product(sku) for sku in SKUS}

        clock.passed = 60 + 600
        assert await cache.found(SKUS) == {}

    assert (cache.hits, cache.misses) == (len(SKUS), len(SKUS))


async def test_what_is_at_hand_and_stale_is_given_while_its_shard_is_down() -> None:
    clock, catalogue = Clock(), Catalogue()
    with running_redis(1) as [server]:
        async with (
            connected([server]) as shards,
            Cache(rpc(GET_PRODUCT), GetProductResponse, catalogue.ask, shards, clock) as cache,
        ):
            await fill(cache, [1, UNKNOWN_SKU])
            server.kill()
            clock.passed = 60
            assert await cache.found([1, UNKNOWN_SKU]) == {1: product(1)}
            await until(lambda: is_idle(cache))
            assert (cache.stale, catalogue.asked) == (1, [1, UNKNOWN_SKU, 1])
            assert await cache.found([1]) == {1: product(1)}

    assert cache.hits == 1


async def test_no_more_is_kept_at_hand_than_has_room(shards: RedisShards) -> None:
    async with Cache(rpc(GET_PRODUCT), GetProductResponse, Catalogue().ask, shards, at_hand=2) as cache:
        for sku in (1, 2, 3):
            await fill(cache, [sku])
        for shard in shards.all:
            await shard.execute("FLUSHALL")
        assert (await cache.found([1, 2, 3])).keys() == {2, 3}


async def test_an_entry_lives_as_long_as_the_contract_says(shards: RedisShards) -> None:
    async with products(shards, Catalogue()) as cache:
        await fill(cache, [1, UNKNOWN_SKU])

    for sku, seconds in ((1, 660), (UNKNOWN_SKU, UNKNOWN_SECONDS)):
        name = f"cache/1{GET_PRODUCT}/{sku}"
        left = await shards.shard_of(name).execute("PTTL", name) / 1000
        assert seconds - 5 < left <= seconds


async def test_a_stale_answer_is_given_at_once_and_asked_for_anew(shards: RedisShards) -> None:
    catalogue, clock = Catalogue(), Clock()
    async with products(shards, catalogue, clock) as cache:
        await fill(cache, [1])
        clock.passed = 60
        assert await cache.found([1]) == {1: product(1)}
        await until(lambda: is_idle(cache))
        assert (cache.stale, cache.hits, catalogue.asked) == (1, 0, [1, 1])

        assert await cache.found([1]) == {1: product(1)}
        assert (cache.stale, cache.hits, catalogue.asked) == (1, 1, [1, 1])


async def test_a_list_is_one_command_for_each_shard(shards: RedisShards) -> None:
    catalogue = Catalogue()
    async with products(shards, catalogue) as cache:
        await fill(cache, SKUS)
        for shard in shards.all:
            await shard.execute("CONFIG", "RESETSTAT")
        assert len(await cache.found(SKUS)) == len(SKUS)

    for shard in shards.all:
        counted = await commands(shard)
        assert (counted["mget"], set(counted) - {"mget", "config|resetstat"}) == (1, set())


async def test_the_shards_share_the_keys_evenly(shards: RedisShards) -> None:
    async with products(shards, Catalogue()) as cache:
        await fill(cache, range(1000, 2000))

    sizes = [await shard.execute("DBSIZE") for shard in shards.all]
    assert sum(sizes) == 1000
    assert min(sizes) > 400


async def test_when_a_shard_is_added_the_others_keep_their_keys(
    shards: RedisShards, servers: list[RedisServer]
) -> None:
    catalogue = Catalogue()
    with running_redis(1) as added:
        async with connected([*servers, *added]) as more, products(shards, catalogue) as few:
            await fill(few, range(1000, 2000))
            async with products(more, catalogue) as cache:
                found = await cache.found(range(1000, 2000))

    assert 1000 - len(found) <= 1.2 / 3 * 1000
    assert found == {sku: product(sku) for sku in found}


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_shard_that_is_gone_costs_its_own_keys_and_little_time(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is gone each call has its answers, those on the other shard from there. None waits longer than a
    command may take, and only the calls that look for it once a second wait at all.
    """
    monkeypatch.setattr("services.chassis.redis_shards.ANSWER_SECONDS", HANGING_SECONDS)
    with running_redis(2) as servers:
        async with connected(servers) as shards, products(shards, Catalogue()) as cache:
            await fill(cache, SKUS)
            gone, alive = shards.all
            getattr(servers[0], how)()
            kept, lost = on(shards, alive), on(shards, gone)
            assert len(kept) > 30 < len(lost)

            begun_at, durations = time.monotonic(), []
            while time.monotonic() - begun_at < 2 * RETRY_SECONDS + 0.5:
                called_at = time.monotonic()
                found = await cache.found(SKUS)
                durations.append(time.monotonic() - called_at)
                assert found == {sku: product(sku) for sku in kept}
                await asyncio.sleep(0.005)
            assert len(durations) > 50
            *_, longest_but_one, _ = sorted(durations)  # a busy machine may have kept one of them waiting
            assert longest_but_one < HANGING_SECONDS + LATE_SECONDS
            assert sum(seconds > HANGING_SECONDS * 0.9 for seconds in durations) <= len(durations) / 10
            assert cache.errors == len(durations) * len(lost)

            await comes_back(servers[0], how)
            await until(lambda: answers(gone))
            await fill(cache, lost)
            assert (await cache.found(SKUS)).keys() == set(SKUS)


async def test_what_is_asked_for_while_its_shard_is_down_is_remembered_by_the_process() -> None:
    with running_redis(2) as servers:
        catalogue, other = Catalogue(), Catalogue()
        async with connected(servers) as shards, products(shards, catalogue) as cache, connected(servers) as same:
            await fill(cache, SKUS)
            servers[0].kill()
            lost = on(shards, shards.all[0])
            for _ in range(3):
                assert await listed(cache, SKUS) == {sku: product(sku) for sku in SKUS}
                await until(lambda: is_idle(cache))
            async with products(same, other) as neighbour:
                assert lost & (await neighbour.found(SKUS)).keys() == set()

    assert sorted(catalogue.asked) == sorted([*SKUS, *lost])


async def test_a_call_waits_20_milliseconds_at_most_for_a_shard_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chassis.redis_shards.ANSWER_SECONDS", ANSWER_SECONDS)
    monkeypatch.setattr("services.chassis.redis_shards.RETRY_SECONDS", 0)
    with running_redis(1) as [server]:
        async with connected([server]) as shards:

            async def waited() -> float:
                called_at = time.monotonic()
                assert await shards.read(["name"]) == {}
                return time.monotonic() - called_at

            server.pause()
            quickest = await waited()
            async with asyncio.timeout(20):
                while quickest > 0.02:  # a busy machine makes some of them wait longer
                    quickest = min(quickest, await waited())

    assert quickest > ANSWER_SECONDS * 0.9


async def comes_back(server: RedisServer, from_what: str) -> None:
    if from_what == "pause":
        server.resume()
    else:
        await asyncio.to_thread(server.start)


async def answers(shard: Shard) -> bool:
    with suppress(ShardError):
        return bool(await shard.execute("PING"))
    return False


async def test_a_shard_that_is_killed_under_load_fails_no_call() -> None:
    with running_redis(2) as servers:
        async with (
            connected(servers) as shards,
            products(shards, Catalogue()) as cache,
            products(shards, Catalogue()) as other,
        ):
            await fill(cache, SKUS)
            kept = on(shards, shards.all[1])
            stop = time.monotonic() + RETRY_SECONDS + 1.0

            async def client(dice: random.Random) -> int:
                calls = 0
                while time.monotonic() < stop:
                    skus = dice.sample(SKUS, 10)
                    assert await listed(cache, skus) == {sku: product(sku) for sku in skus}
                    calls += 1
                return calls

            async with asyncio.TaskGroup() as group:
                clients = [group.create_task(client(random.Random(seed))) for seed in range(16)]
                await asyncio.sleep(0.5)
                servers[0].kill()
                await asyncio.sleep(0.2)
                assert (await other.found(kept)).keys() == kept

            assert min(task.result() for task in clients) > 0


async def test_no_cancelled_call_gives_its_answer_to_another(shards: RedisShards) -> None:
    """Callers give up at any moment, while others go on. Each answer that somebody gets is that of his own sku."""
    cancelled = part(10_000)
    dice = random.Random(1)
    outcomes: Counter[str] = Counter()
    async with products(shards, Catalogue()) as cache:
        await fill(cache, SKUS)

        async def caller(skus: Sequence[int]) -> None:
            for sku, answer in (await listed(cache, skus)).items():
                outcomes["right" if answer == product(sku) else "wrong"] += 1

        async def impatient() -> None:
            while outcomes["cancelled"] < cancelled:
                reading = asyncio.create_task(caller(dice.sample(SKUS, dice.randint(1, 3))))
                await asyncio.sleep(dice.random() * 0.005)
                outcomes["cancelled"] += reading.cancel()
                await asyncio.wait([reading])

        async def patient() -> None:
            while outcomes["cancelled"] < cancelled or outcomes["right"] < cancelled:
                await caller(dice.sample(SKUS, 5))

        await asyncio.gather(*(impatient() for _ in range(16)), patient(), patient())
        assert await listed(cache, SKUS) == {sku: product(sku) for sku in SKUS}

    assert outcomes["wrong"] == 0


async def test_no_command_that_is_given_up_gives_its_answer_to_another() -> None:
    """A shard hangs again and again for longer than a command may take, and then answers all that it was asked."""
    with running_redis(1) as servers, pytest.MonkeyPatch.context() as patched:
        patched.setattr("services.chassis.redis_shards.ANSWER_SECONDS", HANGING_SECONDS / 2)
        patched.setattr("services.chassis.redis_shards.RETRY_SECONDS", 0.001)
        async with connected(servers) as shards:
            [shard] = shards.all
            await asyncio.gather(*(shard.execute("SET", str(number), str(number)) for number in range(100)))
            outcomes: Counter[str] = Counter()

            async def read(number: int) -> None:
                found = await shards.read([str(number)])
                outcomes["none" if not found else "right" if found == {str(number): b"%d" % number} else "wrong"] += 1

            for _ in range(10):
                servers[0].pause()
                await asyncio.gather(*(read(number) for number in range(4)))
                servers[0].resume()
                await until(lambda: answers(shard))
                await asyncio.gather(*(read(number) for number in range(100)))

    assert outcomes["wrong"] == 0
    assert outcomes["none"] >= 40
    assert outcomes["right"] >= 500


async def test_a_busy_process_does_not_blame_the_shard(shards: RedisShards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chassis.redis_shards.ANSWER_SECONDS", ANSWER_SECONDS)
    [shard, _] = shards.all
    reading = asyncio.create_task(shard.execute("PING"))
    for _ in range(3):
        await asyncio.sleep(0)
        time.sleep(3 * ANSWER_SECONDS)  # noqa: ASYNC251  nothing else of this process runs meanwhile

    assert await reading


async def test_a_shard_that_is_gone_and_back_is_said_to_be_so_once(logs: list[dict[str, object]]) -> None:
    with running_redis(1) as servers:
        async with connected(servers) as shards:
            [shard] = shards.all
            assert await answers(shard)
            servers[0].kill()
            await asyncio.gather(*(answers(shard) for _ in range(20)))
            assert not await answers(shard)
            servers[0].start()
            await until(lambda: answers(shard))

    assert [(line["event"], line["shard"]) for line in logs] == [
        ("shard is down", shard.name),
        ("shard is back", shard.name),
    ]
