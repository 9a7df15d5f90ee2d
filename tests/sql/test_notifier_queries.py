"""What each query of the notifier gives, which rows it changes, and whom it waits for."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from notifier_db import notifications
from notifier_db.models import Notification

from tests.clock import FakeClock
from tests.sql.connections import Pair, refused, rows, wait_until_blocked

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = FakeClock()()
LATER = NOW + timedelta(hours=1)
ORDER, OTHER_ORDER = 5, 6


async def add_notifications(connection: asyncpg.Connection, order_id: int, *sequences: int) -> None:
    """Stores notifications, in this order on the disk."""
    statement = "INSERT INTO order_sequences (order_id, last_sequence) VALUES ($1, $2)"
    await connection.execute(statement, order_id, max(sequences))
    added = [(order_id, sequence, NOW) for sequence in sequences]
    statement = "INSERT INTO notifications (order_id, sequence, status, moment) VALUES ($1, $2, 'new', $3)"
    await connection.executemany(statement, added)


async def sequence_rows(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return await rows(connection, "SELECT order_id, last_sequence FROM order_sequences ORDER BY order_id")


async def notification_rows(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return await rows(connection, "SELECT order_id, sequence, status, moment FROM notifications ORDER BY 1, 2")


async def record(connection: asyncpg.Connection, sequence: int, status: str = "payed") -> bool | None:
    return await notifications.AsyncQuerier(connection).record_notification(
        order_id=ORDER, sequence=sequence, status=status, moment=LATER
    )


@pytest.mark.parametrize("sequence", [1, 3, 2**63 - 1])
async def test_record_notification_stores_the_first_of_an_order(connection: asyncpg.Connection, sequence: int) -> None:
    await add_notifications(connection, OTHER_ORDER, 2)

    assert await record(connection, sequence) is True
    assert await sequence_rows(connection) == [(ORDER, sequence), (OTHER_ORDER, 2)]
    assert await notification_rows(connection) == [(ORDER, sequence, "payed", LATER), (OTHER_ORDER, 2, "new", NOW)]


@pytest.mark.parametrize("sequence", [3, 5])
async def test_record_notification_stores_a_later_one(connection: asyncpg.Connection, sequence: int) -> None:
    await add_notifications(connection, ORDER, 2)
    await add_notifications(connection, OTHER_ORDER, 2)

    assert await record(connection, sequence) is True
    assert await sequence_rows(connection) == [(ORDER, sequence), (OTHER_ORDER, 2)]
    assert (await notification_rows(connection))[:2] == [(ORDER, 2, "new", NOW), (ORDER, sequence, "payed", LATER)]


@pytest.mark.parametrize("sequence", [1, 2])
async def test_record_notification_stores_neither_the_same_nor_an_earlier_one(
    connection: asyncpg.Connection, sequence: int
) -> None:
    await add_notifications(connection, ORDER, 2)

    assert await record(connection, sequence) is False
    assert await sequence_rows(connection) == [(ORDER, 2)]
    assert await notification_rows(connection) == [(ORDER, 2, "new", NOW)]


@pytest.mark.parametrize(
    ("sequence", "status", "constraint"),
    [
        (3, "lost", "notifications_status_check"),
        (3, "", "notifications_status_check"),
        (0, "new", "order_sequences_last_sequence_check"),
    ],
)
async def test_record_notification_refuses_what_cannot_be_and_leaves_nothing(
    connection: asyncpg.Connection, sequence: int, status: str, constraint: str
) -> None:
    async with refused(connection, asyncpg.CheckViolationError, constraint):
        await record(connection, sequence, status)
    assert await sequence_rows(connection) == []


@pytest.mark.parametrize(
    ("is_kept", "sequence", "is_new", "stored"),
    [
        (True, 1, False, [2]),
        (True, 2, False, [2]),
        (True, 3, True, [2, 3]),
        (False, 1, True, [1]),
        (False, 2, True, [2]),
    ],
)
async def test_record_notification_waits_for_another_one_of_the_order(
    pair: Pair, *, is_kept: bool, sequence: int, is_new: bool, stored: list[int]
) -> None:
    connection, rival = pair
    first = rival.transaction()
    await first.start()
    await record(rival, 2)

    async with asyncio.TaskGroup() as group:
        recording = group.create_task(record(connection, sequence))
        await wait_until_blocked(connection, rival)
        await (first.commit() if is_kept else first.rollback())

    assert recording.result() is is_new
    assert [row[1] for row in await notification_rows(connection)] == stored
    assert await sequence_rows(connection) == [(ORDER, stored[-1])]


async def test_notifications_of_order_are_those_of_the_order_in_order(connection: asyncpg.Connection) -> None:
    await add_notifications(connection, ORDER, 3, 1, 2)
    await add_notifications(connection, OTHER_ORDER, 4)

    assert await notifications.AsyncReader(connection).notifications_of_order(order_id=ORDER) == [
        Notification(ORDER, sequence, "new", NOW) for sequence in (1, 2, 3)
    ]


async def test_notifications_of_order_that_is_unknown_are_none(connection: asyncpg.Connection) -> None:
    await add_notifications(connection, OTHER_ORDER, 1)

    assert await notifications.AsyncReader(connection).notifications_of_order(order_id=ORDER) == []
