"""Two Redis servers for all tests that leave them alive; each test finds them empty."""

from collections.abc import AsyncIterator, Iterator

import pytest

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
        for shard in shards.all:
            await shard.execute("FLUSHALL")
            await shard.execute("CONFIG", "RESETSTAT")
        yield shards


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy is no shard that is down, and nobody comes too late for his start."""
    monkeypatch.setattr("services.chassis.redis_shards.ANSWER_SECONDS", 2)
    monkeypatch.setattr("services.chassis.shared_rate_limiter.LATE_SECONDS", 1)
