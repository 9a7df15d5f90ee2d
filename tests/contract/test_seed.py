"""The stock and the catalogue that the marketplace begins with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marketplace.cart.v1.cart_pb2 import CartItem
from marketplace.loms.v1.loms_pb2 import StocksInfoRequest, StocksInfoResponse
from marketplace.product.v1.product_pb2 import GetProductRequest, GetProductResponse

from services.chassis.rules import check_rules
from services.loms.seed import STOCK_FILE, seed_stocks
from services.product.__main__ import CATALOGUE_FILE


def rows(path: Path) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = json.loads(path.read_text())
    return found


def test_each_sku_of_the_catalogue_has_one_stock_and_each_stock_a_product() -> None:
    products = sorted(row["sku"] for row in rows(CATALOGUE_FILE))

    assert products == sorted(row["sku"] for row in rows(STOCK_FILE))
    assert len(products) == len(set(products))


def test_every_product_can_be_asked_for_answered_and_put_into_a_cart() -> None:
    for row in rows(CATALOGUE_FILE):
        check_rules(GetProductRequest(sku=row["sku"]))
        check_rules(GetProductResponse(**row))
        check_rules(CartItem(count=1, **row))


def test_every_stock_can_be_asked_for_and_answered() -> None:
    for sku, stock in seed_stocks().items():
        check_rules(StocksInfoRequest(sku=sku))
        check_rules(StocksInfoResponse(count=stock.available))
