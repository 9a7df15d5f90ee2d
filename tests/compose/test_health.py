"""Who is ready, and who is not: real servers, and some that answer badly."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from compose import health
from compose.health import is_ready
from tests.marketplace import free_ports
from tests.redis import running_redis


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """A port where every request gets this answer, and then nothing more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def metadata(brokers: int) -> bytes:
    """The beginning of what Kafka says about so many brokers."""
    return struct.pack(">iii", 8, 0, brokers)


@pytest.mark.parametrize(
    ("scheme", "answer", "ready"),
    [
        ("http", b"HTTP/1.1 200 OK\r\n\r\n", True),
        ("http", b"HTTP/1.0 204 No Content\r\n\r\n", True),
        ("http", b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        ("http", b"HTTP/1.1 404 Not Found\r\n\r\n", False),
        ("http", b"", False),
        ("redis", b"+PONG\r\n", True),
        ("redis", b"-LOADING Redis is loading the dataset in memory\r\n", False),
        ("kafka", metadata(1), True),
        ("kafka", metadata(0), False),
        ("kafka", b"", False),
        ("postgresql", b"N", False),
    ],
)
async def test_an_answer_decides(scheme: str, answer: bytes, *, ready: bool) -> None:
    async with answering(answer) as port:
        assert await is_ready(f"{scheme}://127.0.0.1:{port}/path") is ready


@pytest.mark.parametrize("scheme", ["http", "redis", "kafka", "postgresql"])
async def test_where_nobody_listens_nobody_is_ready(scheme: str) -> None:
    [port] = free_ports(1)

    assert await is_ready(f"{scheme}://127.0.0.1:{port}/path") is False


async def test_real_servers_are_ready(server: str) -> None:
    with running_redis(1) as [redis]:
        assert await is_ready(redis.url) is True
    assert await is_ready(redis.url) is False
    assert await is_ready(server) is True
    assert await is_ready(server.replace("@", "wrong@")) is False


async def test_who_does_not_answer_in_time_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SECONDS", 0.1)
    with running_redis(1) as [redis]:
        redis.pause()
        async with asyncio.timeout(2):
            assert await is_ready(redis.url) is False
        redis.resume()
        assert await is_ready(redis.url) is True
