"""The purchase path of the course, through the real gateway."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.marketplace import running_marketplace

JSON = {"content-type": "application/json"}
SKU = 1076963


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with running_marketplace(tmp_path / "log") as marketplace:
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


async def test_the_purchase_path_of_the_course(http: httpx.AsyncClient) -> None:
    assert (await http.get("/stock/info", params={"sku": SKU})).json() == {"count": "265"}
    added = await post(http, f"/user/1/cart/{SKU}", '{"count": 2}')
    assert (added.status_code, added.json()) == (200, {})
    cart = (await http.get("/user/1/cart")).json()
    assert cart["totalPrice"] == "6758"
    assert cart["items"][0]["price"] == 3379

    order_id = (await post(http, "/cart/checkout", '{"userId": 1}')).json()["orderId"]
    order = (await http.get("/order/info", params={"orderId": order_id})).json()
    assert order == {"status": "awaiting payment", "userId": "1", "items": [{"sku": SKU, "count": 2}]}
    assert (await http.get("/stock/info", params={"sku": SKU})).json() == {"count": "263"}
    for _ in range(2):
        paid = await post(http, "/order/pay", f'{{"orderId": "{order_id}"}}')
        assert (paid.status_code, paid.json()) == (200, {})
    assert (await post(http, "/order/cancel", f'{{"orderId": "{order_id}"}}')).status_code == 412
    assert (await http.get("/user/1/cart")).status_code == 404

    statuses: list[str] = []
    async with asyncio.timeout(1):
        while len(statuses) < 3:
            notifications = (await http.get(f"/order/{order_id}/notifications")).json()["notifications"]
            statuses = [notification["status"] for notification in notifications]
    assert statuses == ["new", "awaiting payment", "payed"]


@pytest.mark.parametrize(
    ("body", "rules"),
    [
        ('{"count": 0}', {("count", "uint32.gte_lte")}),
        ('{"count": 65536}', {("count", "uint32.gte_lte")}),
        ('{"count": -1}', {("count", "uint32.range")}),
        ('{"count": "x"}', {("count", "uint32.type")}),
        ('{"count": 1} junk', {("", "json.trailing_data")}),
        ("", {("", "json.empty")}),
    ],
)
async def test_a_bad_body_names_field_and_rule(http: httpx.AsyncClient, body: str, rules: set[tuple[str, str]]) -> None:
    assert broken(await post(http, f"/user/1/cart/{SKU}", body)) == rules
