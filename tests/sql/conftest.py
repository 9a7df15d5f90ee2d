"""Connections to the databases of the services: migrated, and with empty tables."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import asyncpg
import pytest
import pytest_asyncio

from tests.postgres import create_database, session, tables_of
from tests.sql.connections import Pair
from tests.sql.queries import named_query, queries, services

EMPTY = """
DO $$ BEGIN
    EXECUTE (SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public');
END $$
"""


@pytest.fixture(scope="session")
def databases(server: str) -> dict[str, str]:
    """The DSN of each service's database."""
    return {service: asyncio.run(create_database(server, *tables_of(service), EMPTY)) for service in services()}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pairs(databases: dict[str, str]) -> AsyncIterator[dict[str, Pair]]:
    """Two connections to each database, for all tests: a new one would cost more than a test."""
    async with AsyncExitStack() as stack:
        yield {
            service: (await stack.enter_async_context(session(dsn)), await stack.enter_async_context(session(dsn)))
            for service, dsn in databases.items()
        }


@pytest.fixture
def service(request: pytest.FixtureRequest) -> str:
    """The service of a module: that of test_loms_queries is loms."""
    found = re.search(r"test_(\w+)_queries$", request.module.__name__)
    assert found is not None
    return found[1]


@pytest.fixture
def executed(request: pytest.FixtureRequest, service: str) -> Iterator[list[str]]:
    """The statements that the test executes. That of the query that it is named for has to be among them."""
    statements: list[str] = []
    yield statements
    query = named_query(request.function.__name__, service)
    assert query is None or queries(service)[query] in statements, f"{query} was not executed"


@pytest_asyncio.fixture(loop_scope="session")
async def connection(pairs: dict[str, Pair], service: str, executed: list[str]) -> AsyncIterator[asyncpg.Connection]:
    """A connection in a transaction, whose changes are gone after the test."""
    connection, _ = pairs[service]
    transaction = connection.transaction()
    await transaction.start()
    with connection.query_logger(lambda statement: executed.append(statement.query)):
        yield connection
    await transaction.rollback()


@pytest_asyncio.fixture(loop_scope="session")
async def pair(pairs: dict[str, Pair], service: str, executed: list[str]) -> AsyncIterator[Pair]:
    """A connection and its rival: each sees what the other one has committed. The tables are empty after the test."""
    connection, rival = pairs[service]
    with connection.query_logger(lambda statement: executed.append(statement.query)):
        yield connection, rival
    await rival.reset()
    await connection.reset()
    await connection.execute(EMPTY)
