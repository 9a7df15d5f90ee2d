"""Two Redis servers for all tests that leave them alive; each test finds them empty."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from services.chassis.log import get_logger
from services.chassis.redis_shards import RedisShards, redis_shards
from tests.redis import RedisServer, running_redis


@pytest.fixture(scope="session")
def servers() -> Iterator[list[RedisServer]]:
    with running_redis(2) as servers:
        yield servers


@pytest.fixture
async def shards(servers: list[RedisServer]) -> AsyncIterator[RedisShards]:
    async with redis_shards([server.url for server in servers], get_logger("tested")) as shards:
        for server in servers:
            redis: Any = Redis.from_url(server.url)
            await redis.flushall()
            await redis.config_resetstat()
            await redis.aclose()
        yield shards


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy is no shard that is down, and nobody comes too late for his start."""
    monkeypatch.setattr("services.chassis.redis_shards.ANSWER_SECONDS", 2)
    monkeypatch.setattr("services.chassis.shared_rate_limiter.LATE_SECONDS", 1)
