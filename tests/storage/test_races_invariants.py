"""What the tests of races look for is found where it is."""

import pytest

from tests.storage.conftest import Databases
from tests.storage.invariants import BREAKS
from tests.storage.races import NOW, order, orders_of, shop

UNITS = 3
OVERSELL = "ALTER TABLE stocks DROP CONSTRAINT stocks_reserved_is_there; UPDATE stocks SET reserved = total + 1"
REPEAT = """
INSERT INTO outbox (order_id, sequence, user_id, status, moment)
SELECT order_id, sequence + 1, user_id, status, moment FROM outbox WHERE status = 'payed'
"""
DAMAGES = [
    (OVERSELL, "no more is reserved than there is"),
    ("UPDATE stocks SET reserved = 0", "what is reserved are the items of open orders"),
    ("UPDATE stocks SET total = total + 1", "what is gone are the items of payed orders"),
    ("DELETE FROM stocks", "what is gone are the items of payed orders"),
    ("UPDATE orders SET status = 'new' WHERE status = 'payed'", "no order is left new"),
    ("DELETE FROM outbox WHERE status = 'payed'", "the last event is the status"),
    ("UPDATE orders SET status = 'cancelled' WHERE status = 'payed'", "the last event is the status"),
    ("UPDATE orders SET sequence = sequence + 1", "the last event is the status"),
    ("DELETE FROM outbox", "the events of an order are one of its ways"),
    ("UPDATE outbox SET status = 'cancelled' WHERE sequence = 2", "the events of an order are one of its ways"),
    ("UPDATE outbox SET order_id = order_id + 100", "the events of an order are one of its ways"),
    ("UPDATE outbox SET sequence = sequence * 10", "the sequence of the events of an order has no gap"),
    (REPEAT, "the events of an order are one of its ways"),
]


@pytest.mark.parametrize(("damage", "promise"), DAMAGES)
async def test_what_is_broken_is_found(databases: Databases, damage: str, promise: str) -> None:
    async with shop(databases, {1: UNITS}) as raced, raced.storage(1) as storage:
        orders = orders_of(storage, lambda: NOW)
        for end in (orders.pay, orders.cancel):
            await end((await storage.create(order(1), NOW)).order_id)
        await storage.create(order(1), NOW)
        await storage.create(order(1, count=UNITS), NOW)
        assert await raced.statuses(1) == dict.fromkeys(("payed", "cancelled", "awaiting payment", "failed"), 1)
        assert await raced.broken() == []

        transaction = raced.connection.transaction(isolation="repeatable_read")
        await transaction.start()
        await raced.connection.execute(damage)
        found = await raced.broken()
        await transaction.rollback()

    assert promise in {line.partition(",")[0] for line in found}


def test_every_promise_can_be_broken() -> None:
    assert {promise for _, promise in DAMAGES} == set(BREAKS)
