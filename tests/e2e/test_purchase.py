"""The purchase path of the course, through the real gateway."""

import asyncio

import httpx

from tests.e2e.expect import post

SKU = 1076963  # of this test only: it knows the stock


async def test_the_purchase_path_of_the_course(http: httpx.AsyncClient, user: int) -> None:
    assert (await http.get("/stock/info", params={"sku": SKU})).json() == {"count": "265"}
    added = await post(http, f"/user/{user}/cart/{SKU}", '{"count": 2}')
    assert (added.status_code, added.json()) == (200, {})
    cart = (await http.get(f"/user/{user}/cart")).json()
    assert cart["totalPrice"] == "6758"
    assert cart["items"][0]["price"] == 3379

    order_id = (await post(http, "/cart/checkout", f'{{"userId": {user}}}')).json()["orderId"]
    order = (await http.get("/order/info", params={"orderId": order_id})).json()
    assert order == {"status": "awaiting payment", "userId": str(user), "items": [{"sku": SKU, "count": 2}]}
    assert (await http.get("/stock/info", params={"sku": SKU})).json() == {"count": "263"}
    for _ in range(2):
        paid = await post(http, "/order/pay", f'{{"orderId": "{order_id}"}}')
        assert (paid.status_code, paid.json()) == (200, {})
    assert (await post(http, "/order/cancel", f'{{"orderId": "{order_id}"}}')).status_code == 412
    assert (await http.get(f"/user/{user}/cart")).status_code == 404

    statuses: list[str] = []
    async with asyncio.timeout(1):
        while len(statuses) < 3:
            notifications = (await http.get(f"/order/{order_id}/notifications")).json()["notifications"]
            statuses = [notification["status"] for notification in notifications]
    assert statuses == ["new", "awaiting payment", "payed"]
