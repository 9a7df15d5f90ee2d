"""The purchase path of the course, through the real gateway."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.marketplace import running_marketplace

JSON = {"content-type": "application/json"}
SKU = 1076963


@pytest.fixture(scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with running_marketplace(tmp_path_factory.mktemp("e2e") / "log") as marketplace:
        yield marketplace.url


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url) as client:
        yield client


def broken(answer: httpx.Response) -> set[tuple[str, str]]:
    """The fields and the rules that a 400 names."""
    body = answer.json()
    assert answer.status_code == 400, body
    assert body["code"] == 3
    return {(one["field"], one["reason"]) for one in body["details"][0]["fieldViolations"]}


async def post(http: httpx.AsyncClient, path: str, body: str) -> httpx.Response:
    return await http.post(path, content=body.encode(), headers=JSON)


pytestmark = pytest.mark.asyncio(loop_scope="module")
