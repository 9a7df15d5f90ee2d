"""The marketplace on PostgreSQL keeps what it has acknowledged."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.marketplace import environment_on_free_ports, free_ports, healthy_marketplace

SKU = 1625903


@pytest.fixture
def settings() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="marketplace-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL does not run as root, and its user has to get there
        yield environment_on_free_ports() | {
            "MARKETPLACE_STORAGE": "postgres",
            "MARKETPLACE_POSTGRES_FOLDER": f"{folder}/postgres",
            "MARKETPLACE_POSTGRES_PORT": str(free_ports(1)[0]),
        }


def test_orders_and_carts_outlive_a_kill_of_everything(settings: dict[str, str], tmp_path: Path) -> None:
    with healthy_marketplace(tmp_path / "first", **settings) as marketplace, httpx.Client(trust_env=False) as http:

        def create(user_id: int) -> str:
            order = {"userId": user_id, "items": [{"sku": SKU, "count": 1}]}
            answer = http.post(f"{marketplace.url}/order/create", json=order)
            return str(answer.raise_for_status().json()["orderId"])

        with ThreadPoolExecutor(10) as pool:
            orders = dict(zip(pool.map(create, range(1, 101)), range(1, 101), strict=True))
        http.post(f"{marketplace.url}/user/1/cart/{SKU}", json={"count": 3}).raise_for_status()
        marketplace.kill()

    with healthy_marketplace(tmp_path / "second", **settings) as marketplace, httpx.Client(trust_env=False) as http:

        def read(path: str) -> object:
            return http.get(f"{marketplace.url}{path}").raise_for_status().json()

        for order_id, user_id in orders.items():
            expected = {"status": "awaiting payment", "userId": str(user_id), "items": [{"sku": SKU, "count": 1}]}
            assert read(f"/order/info?orderId={order_id}") == expected
        assert read(f"/stock/info?sku={SKU}") == {"count": str(10_000 - len(orders))}
        cart = read("/user/1/cart")

    assert len(orders) == 100
    assert isinstance(cart, dict)
    assert [(item["sku"], item["count"]) for item in cart["items"]] == [(SKU, 3)]
