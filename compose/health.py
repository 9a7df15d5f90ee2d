"""Whether a server is ready, by its URL."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import SplitResult, urlsplit

import asyncpg

SECONDS = 1
"""Who takes longer to answer is not ready."""

KAFKA_METADATA = struct.pack(">hhihi", 3, 1, 0, -1, 0)
"""Asks for the brokers and no topic: key and version of the API, correlation id, no client id, no topics."""


async def is_ready(url: str) -> bool:
    """Whether the server of an http, postgresql, redis or kafka URL does its work."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(SECONDS):
            return await CHECKS[parts.scheme](parts)
    except (OSError, EOFError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False


async def _http(url: SplitResult) -> bool:
    """A 2xx is the answer to a GET."""
    status = await _exchange(url, f"GET {url.path} HTTP/1.0\r\nHost: {url.netloc}\r\n\r\n".encode(), len("HTTP/1.1 2"))
    return status.endswith(b" 2")


async def _postgresql(url: SplitResult) -> bool:
    """It takes statements. Behind a pooler none is kept prepared."""
    connection = await asyncpg.connect(url.geturl(), statement_cache_size=0)
    try:
        return bool(await connection.fetchval("SELECT 1") == 1)
    finally:
        await connection.close()


async def _redis(url: SplitResult) -> bool:
    return await _exchange(url, b"PING\r\n", len(b"+PONG")) == b"+PONG"


async def _kafka(url: SplitResult) -> bool:
    """It knows at least one broker that clients may use, which is itself."""
    request = struct.pack(">i", len(KAFKA_METADATA)) + KAFKA_METADATA
    _, _, brokers = struct.unpack(">iii", await _exchange(url, request, 12))
    return bool(brokers > 0)


async def _exchange(url: SplitResult, request: bytes, length: int) -> bytes:
    """The first bytes of the answer to a request."""
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        writer.write(request)
        return await reader.readexactly(length)
    finally:
        writer.close()


CHECKS: Mapping[str, Callable[[SplitResult], Awaitable[bool]]] = {
    "http": _http,
    "postgresql": _postgresql,
    "redis": _redis,
    "kafka": _kafka,
}
