"""What the databases of the stack know of orders and notifications."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.chaos.load import Acknowledged
from tests.events.consumers import LINE
from tests.postgres import session

ORDERS = "SELECT order_id, user_id, sequence FROM orders"
NOTIFIED = "SELECT order_id, array_agg(sequence ORDER BY sequence) AS sequences FROM notifications GROUP BY order_id"
LETTERS = "SELECT count(*) FROM dead_letters"


@dataclass(frozen=True)
class Verdict:
    """What came of the orders. Only `ghosts` may be more than none: their callers were never answered."""

    orders: int
    lost: int
    """Acknowledged, and not there."""
    doubled: int
    """Users who have more than the one order that they wanted."""
    ghosts: int
    """There, and acknowledged to nobody."""
    unnotified: int
    """Orders with a change that nobody was notified of."""
    told: int
    """Notifications with a log line. A kill between the commit and the line loses the line."""
    told_twice: int
    """Notifications with more than one log line."""
    letters: int
    """Events that could not be handled."""

    @property
    def is_kept(self) -> bool:
        return self.told > self.orders and not any(
            (self.lost, self.doubled, self.unnotified, self.told_twice, self.letters)
        )


async def all_is_notified(loms_url: str, notifier_url: str) -> bool:
    """Whether nothing is on its way any more."""
    async with session(loms_url) as loms, session(notifier_url) as notifier:
        changes = await loms.fetchval("SELECT coalesce(sum(sequence), 0) FROM orders")
        return bool(changes == await notifier.fetchval("SELECT count(*) FROM notifications"))


async def judge(loms_url: str, notifier_url: str, acknowledged: Sequence[Acknowledged], log: Path) -> Verdict:
    """Compares what callers, databases and the log of the notifiers say."""
    async with session(loms_url) as loms, session(notifier_url) as notifier:
        orders = {row["order_id"]: row for row in await loms.fetch(ORDERS)}
        notified = {row["order_id"]: row["sequences"] for row in await notifier.fetch(NOTIFIED)}
        letters = await notifier.fetchval(LETTERS)
    lines = told(log)
    wanted = {each.order_id: each.user_id for each in acknowledged}
    return Verdict(
        orders=len(orders),
        lost=sum(order_id not in orders or orders[order_id]["user_id"] != user for order_id, user in wanted.items()),
        doubled=sum(count > 1 for count in Counter(row["user_id"] for row in orders.values()).values()),
        ghosts=len(orders.keys() - wanted.keys()),
        unnotified=sum(notified.get(order_id) != _all(row) for order_id, row in orders.items()),
        told=len(lines),
        told_twice=sum(count > 1 for count in lines.values()),
        letters=letters,
    )


def _all(order: asyncpg.Record) -> list[int]:
    return list(range(1, order["sequence"] + 1))


def told(log: Path) -> Counter[tuple[int, str]]:
    """How often the notifiers have told each status of each order, in a log that names before each line who says it."""
    lines = (line.partition(" | ")[2] for line in log.read_text(errors="replace").splitlines() if LINE in line)
    return Counter((line["order_id"], line["status"]) for line in map(json.loads, lines))
