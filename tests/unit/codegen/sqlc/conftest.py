"""A server that has the tables of schema.sql."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.postgres import create_database, undone, up

SCHEMA = Path(__file__).parent / "schema.sql"


@pytest.fixture(scope="session")
def database(server: str) -> str:
    """The DSN."""
    return asyncio.run(create_database(server, up(SCHEMA.read_text())))


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    async with undone(database) as connection:
        yield connection
