"""The stock that the marketplace begins with."""

import json
from pathlib import Path

from services.loms.memory import Stock

STOCK_FILE = Path(__file__).with_name("stock.json")


def seed_stocks() -> dict[int, Stock]:
    """The stock of each sku in stock.json."""
    rows = json.loads(STOCK_FILE.read_text())
    return {row["sku"]: Stock(row["total"], row["reserved"]) for row in rows}
