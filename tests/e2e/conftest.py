"""One marketplace for all tests that leave each other alone: each has users of its own."""

from collections.abc import AsyncIterator, Iterator
from itertools import count

import httpx
import pytest

from tests.marketplace import healthy_marketplace

USERS = count(1)


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with healthy_marketplace(tmp_path_factory.mktemp("marketplace") / "log") as marketplace:
        yield marketplace.url


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


@pytest.fixture
def user() -> int:
    """A user that no other test knows."""
    return next(USERS)
