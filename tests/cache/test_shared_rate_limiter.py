"""The rate limit of all replicas together: through Redis, without it, and while the one becomes the other."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from uuid import uuid4

import pytest

from services.chassis.contract import Rate
from services.chassis.log import get_logger
from services.chassis.rate_limiter import JOURNEY_SECONDS, own_share
from services.chassis.redis_shards import RedisShards, Shard, ShardError, redis_shards
from services.chassis.shared_rate_limiter import LATE_SECONDS, SharedRateLimiter
from tests.cache.starts import RATE, most_in_a_window
from tests.marketplace import ROOT
from tests.redis import RedisServer, running_redis
from tests.virtual_time import run
from tests.waiting import until

WINDOW = 1 + JOURNEY_SECONDS + LATE_SECONDS
PATIENT_WINDOW = 2 + JOURNEY_SECONDS
"""That of tests in which a process may be a second late."""


async def starts_of_processes(url: str, processes: int, seconds: float) -> list[list[float]]:
    """When the calls of so many processes start that share a limit for so long."""
    command = (sys.executable, "-m", "tests.cache.starts", url, str(processes), str(seconds))
    running = [
        await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        for _ in range(processes)
    ]
    printed = await asyncio.gather(*(process.communicate() for process in running))
    return [json.loads(output) for output, _ in printed]


@asynccontextmanager
async def one_shard(server: RedisServer) -> AsyncIterator[Shard]:
    async with redis_shards([server.url], get_logger("tested")) as shards:
        yield shards.all[0]


def limiter(shard: Shard, replicas: int = 1, rate: Rate = RATE) -> SharedRateLimiter:
    """A limiter of a rate that no other test knows."""
    return SharedRateLimiter(shard, str(uuid4()), rate, replicas, get_logger("tested"))


async def turns(limiter: SharedRateLimiter, number: int) -> list[float]:
    """When so many calls start that arrive at once."""

    async def call() -> float:
        await limiter.turn()
        return time.monotonic()

    return list(await asyncio.gather(*(call() for _ in range(number))))


async def answers(shard: Shard) -> bool:
    with suppress(ShardError):
        return bool(await shard.execute("PING"))
    return False


def after(moment: float, times: Sequence[float]) -> list[float]:
    return [at for at in times if at > moment]


async def test_processes_together_start_no_more_than_the_rate_and_nearly_so_many(servers: list[RedisServer]) -> None:
    by_process = await starts_of_processes(servers[0].url, processes=2, seconds=6)

    together = sorted(at for starts in by_process for at in starts)
    assert most_in_a_window(together, 1 + JOURNEY_SECONDS) <= 10
    assert len(together) >= 0.5 * 10 * (together[-1] - together[0]) / WINDOW
    assert min(map(len, by_process)) >= len(together) / 5


@pytest.mark.long
async def test_when_redis_is_killed_and_comes_back_they_never_start_more_than_the_rate() -> None:
    with running_redis(1) as [server]:
        processes = asyncio.create_task(starts_of_processes(server.url, processes=2, seconds=14))
        await asyncio.sleep(4)
        server.kill()
        killed_at = time.monotonic()
        await asyncio.sleep(5)
        server.start()
        back_at = time.monotonic()
        by_process = await processes

    together = sorted(at for starts in by_process for at in starts)
    assert most_in_a_window(together, 1) <= 10
    for starts in by_process:
        alone = [at for at in after(killed_at + 2 * WINDOW, starts) if at < back_at]
        assert most_in_a_window(alone, 1) == 5
        assert after(back_at + 3 * WINDOW, starts)


@pytest.mark.usefixtures("patient")
async def test_calls_start_in_the_order_of_arrival_ten_at_a_time(shards: RedisShards) -> None:
    started = await turns(limiter(shards.all[0]), 25)

    assert all(later >= earlier for earlier, later in pairwise(started))
    assert [round((at - started[0]) / PATIENT_WINDOW, 0) for at in started] == [0] * 10 + [1] * 10 + [2] * 5


@pytest.mark.usefixtures("patient")
async def test_a_turn_is_one_round_trip_and_who_gives_up_leaves_his_start_to_the_next(shards: RedisShards) -> None:
    [shard, _] = shards.all
    limited = limiter(shard)
    await turns(limited, 10)
    waiting = asyncio.create_task(limited.turn())
    await asyncio.sleep(0.5)
    waiting.cancel()
    await limited.turn()

    assert await evals(shard) == 11


async def evals(shard: Shard) -> int:
    calls: int = (await shard.execute("INFO", "commandstats"))["cmdstat_eval"]["calls"]
    return calls


@pytest.mark.usefixtures("patient")
async def test_a_start_for_which_the_process_comes_too_late_is_not_taken(shards: RedisShards) -> None:
    [shard, _] = shards.all
    limited = limiter(shard)
    await turns(limited, 10)
    waiting = asyncio.create_task(turns(limited, 1))
    await asyncio.sleep(0.5)
    time.sleep(PATIENT_WINDOW + 1)  # noqa: ASYNC251  nothing else of this process runs meanwhile
    await waiting

    assert await evals(shard) == 12


@pytest.mark.parametrize("how", ["kill", pytest.param("pause", marks=pytest.mark.long)])
async def test_without_redis_a_process_has_its_share(how: str, logs: list[dict[str, object]]) -> None:
    with running_redis(1) as [server]:
        async with one_shard(server) as shard:
            limited = limiter(shard, replicas=3)
            await turns(limited, 1)
            getattr(server, how)()
            gone_at = time.monotonic()
            started = await turns(limited, 7)
            assert started[0] >= gone_at + 2 * WINDOW
            assert [round((at - started[0]) / WINDOW, 0) for at in started] == [0] * 3 + [1] * 3 + [2]

            if how == "kill":
                await asyncio.to_thread(server.start)
            else:
                server.resume()
            await until(lambda: answers(shard))
            back_at = time.monotonic()
            started = await turns(limited, 11)
            assert started[0] >= back_at + 2 * WINDOW
            assert most_in_a_window(started, 1) <= 10

    assert [(line["event"], line.get("share")) for line in logs if str(line["event"]).startswith("rate")] == [
        ("rate limit without Redis", 3),
        ("rate limit with Redis", None),
    ]


async def test_a_redis_that_has_forgotten_the_starts_waits_before_it_gives_the_next() -> None:
    with running_redis(1) as [server]:
        async with one_shard(server) as shard:
            first = SharedRateLimiter(shard, "calls", RATE, 1, get_logger("tested"))
            started = await turns(first, 10)
        server.kill()
        server.start()
        async with one_shard(server) as shard:
            second = SharedRateLimiter(shard, "calls", RATE, 1, get_logger("tested"))
            started += await turns(second, 2)

    assert most_in_a_window(started, 1) <= 10


async def test_a_clock_that_is_set_back_stops_nobody_for_long(shards: RedisShards) -> None:
    [shard, _] = shards.all
    limited = limiter(shard)
    [seconds, _] = await shard.execute("TIME")
    await limited.turn()
    [name] = await shard.execute("KEYS", "rate/*")
    await shard.execute("RPUSH", name, (int(seconds) + 3600) * 1_000_000)

    async with asyncio.timeout(10 * WINDOW):
        assert most_in_a_window(await turns(limited, 5), 1) <= 10


@pytest.mark.parametrize(
    ("replicas", "is_shared", "burst"), [(1, True, 10), (2, True, 5), (3, True, 3), (100, True, 1), (3, False, 10)]
)
def test_who_shares_a_rate_without_redis_keeps_to_his_share(replicas: int, *, is_shared: bool, burst: int) -> None:
    async def main() -> None:
        mine = own_share(replace(RATE, is_shared=is_shared), replicas)
        for _ in range(burst):
            await mine.turn()
        assert asyncio.get_running_loop().time() == 0
        await mine.turn()
        assert asyncio.get_running_loop().time() >= 1

    run(main())
