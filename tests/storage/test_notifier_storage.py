"""What every storage of the notifier promises."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.notifier.memory import MemoryStorage
from services.notifier.postgres import PostgresStorage
from services.notifier.usecases import Notification, Storage
from tests.clock import FakeClock
from tests.storage.conftest import Databases

STATUSES = ("new", "awaiting payment", "payed")


@pytest.fixture
async def storage(way: Databases | None) -> AsyncIterator[Storage]:
    if way is None:
        yield MemoryStorage()
        return
    async with way("notifier") as connected:
        yield PostgresStorage(connected.database)


def notification(sequence: int, order_id: int = 5) -> Notification:
    return Notification(order_id, sequence, STATUSES[sequence - 1], FakeClock()())


async def test_notifications_of_an_order_come_back_in_order(storage: Storage) -> None:
    for sequence in (1, 2, 3):
        assert await storage.record(notification(sequence))
    await storage.record(notification(1, order_id=6))

    assert list(await storage.notifications(5)) == [notification(1), notification(2), notification(3)]


async def test_an_unknown_order_has_none(storage: Storage) -> None:
    assert list(await storage.notifications(404)) == []


async def test_a_notification_is_recorded_once_however_often_it_comes(storage: Storage) -> None:
    for sequence in (1, 2):
        await storage.record(notification(sequence))

    assert await asyncio.gather(*(storage.record(notification(sequence)) for sequence in (1, 2, 1, 2))) == [False] * 4
    assert len(await storage.notifications(5)) == 2
