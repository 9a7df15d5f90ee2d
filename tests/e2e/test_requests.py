"""Requests as clients send them, the wrong ones included, through the real gateway."""

import asyncio
import json

import httpx
import pytest

from services.loms.seed import seed_stocks
from tests.e2e.expect import broken_rules_of, post, reason_of

SKU, OTHER_SKU = 1625903, 1148162
REQUEST_ID = "5b0c5b8e-6f6c-4f0e-9a49-4d5a1c5a0001"


def order(user: int, *items: tuple[int, int], **more: str) -> str:
    """The body of an OrderCreate."""
    return json.dumps({"userId": user, "items": [{"sku": sku, "count": count} for sku, count in items], **more})


async def free_stock(http: httpx.AsyncClient, sku: int) -> int:
    return int((await http.get("/stock/info", params={"sku": sku})).json()["count"])


ADD, CREATE = f"/user/1/cart/{SKU}", "/order/create"


@pytest.mark.parametrize(
    ("path", "body", "rules"),
    [
        (ADD, '{"count": 0}', {("count", "uint32.gte_lte")}),
        (ADD, '{"count": 65536}', {("count", "uint32.gte_lte")}),
        (ADD, '{"count": -1}', {("count", "uint32.range")}),
        (ADD, '{"count": "x"}', {("count", "uint32.type")}),
        (ADD, '{"count": 1.5}', {("count", "uint32.type")}),
        (ADD, '{"count": 1, "count": 2}', {("count", "json.duplicate_key")}),
        (ADD, '{"count": 1, "userId": 2}', {("userId", "json.unknown_field")}),
        (ADD, '{"count": 1} junk', {("", "json.trailing_data")}),
        (ADD, "[]", {("", "message.type")}),
        (ADD, "", {("", "json.empty")}),
        ("/user/1/cart/0", '{"count": 1}', {("sku", "uint32.gt")}),
        ("/user/1/cart/4294967296", '{"count": 1}', {("sku", "uint32.range")}),
        (
            "/user/0/cart/0",
            '{"count": 0}',
            {("user_id", "int64.gt"), ("sku", "uint32.gt"), ("count", "uint32.gte_lte")},
        ),
        (CREATE, order(1), {("items", "repeated.min_items")}),
        (CREATE, order(1, *[(SKU, 1)] * 101), {("items", "repeated.max_items")}),
        (CREATE, order(1, (SKU, 1), (SKU, 0)), {("items[1].count", "uint32.gte_lte")}),
        (CREATE, order(1, (SKU, 1), requestId="x"), {("request_id", "string.uuid")}),
        (CREATE, order(1, (SKU, 1), color="red"), {("color", "json.unknown_field")}),
        (CREATE, '{"user_id": 1, "items": []}', {("user_id", "json.unknown_field")}),
    ],
)
async def test_a_bad_request_gets_a_400_that_names_field_and_rule(
    http: httpx.AsyncClient, path: str, body: str, rules: set[tuple[str, str]]
) -> None:
    assert broken_rules_of(await post(http, path, body)) == rules


async def test_a_sku_that_is_ordered_twice_is_one_line_with_the_sum(http: httpx.AsyncClient, user: int) -> None:
    created = await post(http, "/order/create", order(user, (SKU, 2), (OTHER_SKU, 1), (SKU, 3)))
    info = await http.get("/order/info", params={"orderId": created.json()["orderId"]})
    assert info.json()["items"] == [{"sku": OTHER_SKU, "count": 1}, {"sku": SKU, "count": 5}]


@pytest.mark.parametrize(("field", "header"), [({"requestId": REQUEST_ID}, {}), ({}, {"idempotency-key": REQUEST_ID})])
async def test_one_request_id_makes_one_order_however_often_it_is_sent(
    http: httpx.AsyncClient, user: int, field: dict[str, str], header: dict[str, str]
) -> None:
    before = await free_stock(http, SKU)

    answers = await asyncio.gather(
        *(post(http, "/order/create", order(user, (SKU, 2), **field), **header) for _ in range(30))
    )
    other = await post(http, "/order/create", order(user, (SKU, 3), **field), **header)

    assert [answer.status_code for answer in answers] == [200] * 30
    assert len({answer.json()["orderId"] for answer in answers}) == 1
    assert reason_of(other) == (409, "REQUEST_ID_REUSED")
    assert await free_stock(http, SKU) == before - 2


async def test_a_checkout_needs_no_body(http: httpx.AsyncClient, user: int) -> None:
    orders = []
    for query in ("", f"?requestId={REQUEST_ID}"):
        await post(http, f"/user/{user}/cart/{SKU}", '{"count": 1}')
        answer = await http.post(f"/checkout/{user}{query}")
        assert answer.status_code == 200
        orders.append(answer.json()["orderId"])
    again = await http.post(f"/checkout/{user}?requestId={REQUEST_ID}")

    assert orders[0] != orders[1] == again.json()["orderId"]
    assert reason_of(await http.post(f"/checkout/{user}")) == (404, "CART_EMPTY")


async def test_a_deletion_answers_204_without_a_body(http: httpx.AsyncClient, user: int) -> None:
    for path in (f"/user/{user}/cart/{SKU}", f"/user/{user}/cart"):
        answer = await http.delete(path)
        assert (answer.status_code, answer.content) == (204, b"")


async def test_an_unknown_order_is_not_found(http: httpx.AsyncClient) -> None:
    answer = await http.get("/order/info", params={"orderId": 9223372036854775001})
    assert reason_of(answer) == (404, "ORDER_NOT_FOUND")
    assert "9223372036854775001" in answer.json()["message"]


async def test_the_catalogue_needs_a_token(http: httpx.AsyncClient) -> None:
    known = await http.get(f"/product/{SKU}", headers={"authorization": "Bearer testtoken"})
    assert (known.status_code, known.json()["sku"]) == (200, SKU)
    for headers in ({}, {"authorization": "Bearer other"}):
        assert reason_of(await http.get(f"/product/{SKU}", headers=headers)) == (401, "TOKEN_INVALID")


@pytest.mark.parametrize(
    ("path", "content_type", "part"),
    [("/", "text/html; charset=utf-8", '<div id="swagger-ui">'), ("/openapi.json", "application/json", '"openapi"')],
)
async def test_the_api_is_documented_where_it_is_served(
    http: httpx.AsyncClient, path: str, content_type: str, part: str
) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    assert part in answer.text


async def test_a_burst_of_reads_of_a_full_cart_is_answered(http: httpx.AsyncClient, user: int) -> None:
    skus = [sku for sku, stock in seed_stocks().items() if stock.total > stock.reserved]
    for sku in skus:
        assert (await post(http, f"/user/{user}/cart/{sku}", '{"count": 1}')).status_code == 200

    carts = await asyncio.gather(*(http.get(f"/user/{user}/cart") for _ in range(50)))

    assert [answer.status_code for answer in carts] == [200] * 50
    assert {len(answer.json()["items"]) for answer in carts} == {len(skus)}
