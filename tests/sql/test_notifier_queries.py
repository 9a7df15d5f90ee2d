"""What each query of the notifier gives, which rows it changes, and whom it waits for."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from notifier_db import dead_letters, notifications
from notifier_db.models import DeadLetter, Notification
from notifier_db.notifications import LockedOrdersRow

from tests.clock import FakeClock
from tests.sql.connections import Pair, is_held, refused, rows, wait_until_blocked

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = FakeClock()()
LATER = NOW + timedelta(hours=1)
ORDER, OTHER_ORDER, THIRD_ORDER = 5, 6, 7
USER, OTHER_USER = 31, 32


async def add_orders(connection: asyncpg.Connection, last_sequences: dict[int, int]) -> None:
    statement = "INSERT INTO order_sequences (order_id, last_sequence) VALUES ($1, $2)"
    await connection.executemany(statement, last_sequences.items())


async def add_notifications(connection: asyncpg.Connection, order_id: int, *sequences: int) -> None:
    """Stores notifications, in this order on the disk."""
    await add_orders(connection, {order_id: max(sequences)})
    added = [(order_id, sequence, NOW, USER) for sequence in sequences]
    statement = "INSERT INTO notifications (order_id, sequence, status, moment, user_id) VALUES ($1, $2, 'new', $3, $4)"
    await connection.executemany(statement, added)


async def add_letter(connection: asyncpg.Connection, event_id: str, order_id: int | None = ORDER) -> int:
    """Parks an event; gives the id of the letter."""
    statement = """
        INSERT INTO dead_letters (event_id, order_id, partition, position, key, value, headers, error)
        VALUES ($1, $2, 0, 1, '', '', '[]', 'wrong') RETURNING id
    """
    letter_id: int = await connection.fetchval(statement, event_id, order_id)
    return letter_id


async def sequence_rows(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return await rows(connection, "SELECT order_id, last_sequence FROM order_sequences ORDER BY order_id")


async def notification_rows(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return await rows(connection, "SELECT order_id, sequence, status, moment FROM notifications ORDER BY 1, 2")


async def letter_rows(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return await rows(connection, "SELECT event_id, error FROM dead_letters ORDER BY id")


async def lock(connection: asyncpg.Connection, *order_ids: int) -> str | None:
    return await notifications.AsyncQuerier(connection).lock_orders(order_ids=order_ids)


async def locked(connection: asyncpg.Connection, *order_ids: int) -> list[LockedOrdersRow]:
    found = await notifications.AsyncReader(connection).locked_orders(order_ids=order_ids)
    return sorted(found, key=lambda row: row.order_id)


async def record(connection: asyncpg.Connection, *changes: tuple[int, int, str, datetime]) -> None:
    order_ids, sequences, statuses, moments = zip(*changes, strict=True)
    await notifications.AsyncQuerier(connection).record_notifications(
        notifications.RecordNotificationsParams(order_ids, sequences, statuses, moments, [USER] * len(changes))
    )


async def park(connection: asyncpg.Connection, letters: dict[str, int], error: str = "wrong") -> list[str]:
    """Parks events, each at the place of its order; gives the ids of the new ones."""
    count = len(letters)
    return await dead_letters.AsyncQuerier(connection).park_events(
        dead_letters.ParkEventsParams(
            event_ids=[*letters],
            order_ids=[*letters.values()],
            partitions=[1] * count,
            positions=[*range(count)],
            keys=[b"\x00"] * count,
            bodies=[b"\xff"] * count,
            headers=['[["sequence", "1"]]'] * count,
            errors=[error] * count,
        )
    )


async def test_lock_orders_makes_those_that_are_missing_and_leaves_the_others(connection: asyncpg.Connection) -> None:
    await add_orders(connection, {ORDER: 3})

    await lock(connection, OTHER_ORDER, ORDER)

    assert await sequence_rows(connection) == [(ORDER, 3), (OTHER_ORDER, 0)]


async def test_lock_orders_gives_the_id_of_the_transaction(connection: asyncpg.Connection) -> None:
    assert await lock(connection) == await connection.fetchval("SELECT pg_current_xact_id()::text")


async def test_lock_orders_holds_the_rows_that_it_names(pair: Pair) -> None:
    connection, rival = pair
    await add_orders(connection, {ORDER: 3, OTHER_ORDER: 3})

    async with connection.transaction():
        await lock(connection, ORDER)

        assert await is_held(rival, f"order_sequences WHERE order_id = {ORDER}")
        assert not await is_held(rival, f"order_sequences WHERE order_id = {OTHER_ORDER}")


@pytest.mark.parametrize("known", [{}, {ORDER: 3, OTHER_ORDER: 3, THIRD_ORDER: 3}])
async def test_lock_orders_begins_with_the_lowest(pair: Pair, known: dict[int, int]) -> None:
    connection, rival = pair
    await add_orders(connection, known)
    first = rival.transaction()
    await first.start()
    await lock(rival, OTHER_ORDER)

    async with connection.transaction(), asyncio.TaskGroup() as group:
        locking = group.create_task(lock(connection, THIRD_ORDER, OTHER_ORDER, ORDER))
        await wait_until_blocked(connection, rival)
        await lock(rival, THIRD_ORDER)
        await first.commit()
        await locking

    assert [order_id for order_id, _ in await sequence_rows(connection)] == [ORDER, OTHER_ORDER, THIRD_ORDER]


async def test_lock_orders_waits_for_another_one_of_the_order(pair: Pair) -> None:
    connection, rival = pair
    first = rival.transaction()
    await first.start()
    await lock(rival, ORDER)
    await record(rival, (ORDER, 2, "new", NOW))
    await add_letter(rival, "parked")

    async with connection.transaction(), asyncio.TaskGroup() as group:
        locking = group.create_task(lock(connection, ORDER))
        await wait_until_blocked(connection, rival)
        await first.commit()
        await locking

        assert await locked(connection, ORDER) == [LockedOrdersRow(ORDER, 2, is_parked=True)]


async def test_locked_orders_says_how_far_each_is_and_whether_something_of_it_is_parked(
    connection: asyncpg.Connection,
) -> None:
    await add_orders(connection, {ORDER: 3, OTHER_ORDER: 0, THIRD_ORDER: 1})
    await add_letter(connection, "first", OTHER_ORDER)
    await add_letter(connection, "second", OTHER_ORDER)
    await add_letter(connection, "third", None)

    assert await locked(connection, ORDER, OTHER_ORDER, 404) == [
        LockedOrdersRow(ORDER, 3, is_parked=False),
        LockedOrdersRow(OTHER_ORDER, 0, is_parked=True),
    ]


async def test_record_notifications_stores_them_and_how_far_their_orders_are(connection: asyncpg.Connection) -> None:
    await add_notifications(connection, ORDER, 1)
    await add_orders(connection, {OTHER_ORDER: 0, THIRD_ORDER: 0})
    highest = 2**63 - 1

    await record(
        connection, (ORDER, 2, "payed", LATER), (OTHER_ORDER, highest, "failed", NOW), (ORDER, 3, "cancelled", NOW)
    )

    assert await sequence_rows(connection) == [(ORDER, 3), (OTHER_ORDER, highest), (THIRD_ORDER, 0)]
    assert await notification_rows(connection) == [
        (ORDER, 1, "new", NOW),
        (ORDER, 2, "payed", LATER),
        (ORDER, 3, "cancelled", NOW),
        (OTHER_ORDER, highest, "failed", NOW),
    ]


@pytest.mark.parametrize(
    ("wrong", "error", "constraint"),
    [
        ((ORDER, 3, "lost", NOW), asyncpg.CheckViolationError, "notifications_status_check"),
        ((ORDER, 3, "", NOW), asyncpg.CheckViolationError, "notifications_status_check"),
        ((ORDER, 0, "new", NOW), asyncpg.CheckViolationError, "notifications_sequence_check"),
        ((ORDER, 2, "new", NOW), asyncpg.UniqueViolationError, "notifications_pkey"),
        ((OTHER_ORDER, 3, "new", NOW), asyncpg.ForeignKeyViolationError, "notifications_order_id_fkey"),
    ],
)
async def test_record_notifications_refuses_what_cannot_be_and_leaves_nothing(
    connection: asyncpg.Connection,
    wrong: tuple[int, int, str, datetime],
    error: type[asyncpg.PostgresError],
    constraint: str,
) -> None:
    await add_notifications(connection, ORDER, 2)

    async with refused(connection, error, constraint):
        await record(connection, (ORDER, 4, "payed", NOW), wrong)
    assert await sequence_rows(connection) == [(ORDER, 2)]
    assert await notification_rows(connection) == [(ORDER, 2, "new", NOW)]


@pytest.mark.parametrize("is_kept", [True, False])
async def test_is_committed_tells_how_a_transaction_has_ended(pair: Pair, *, is_kept: bool) -> None:
    connection, rival = pair
    transaction = rival.transaction()
    await transaction.start()
    transaction_id = str(await lock(rival, ORDER))
    querier = notifications.AsyncReader(connection)
    assert await querier.is_committed(transaction_id=transaction_id) is False

    await (transaction.commit() if is_kept else transaction.rollback())

    assert await querier.is_committed(transaction_id=transaction_id) is is_kept


async def test_notifications_of_order_are_those_of_the_order_in_order(connection: asyncpg.Connection) -> None:
    await add_notifications(connection, ORDER, 3, 1, 2)
    await add_notifications(connection, OTHER_ORDER, 4)

    for owner in (None, USER):
        found = await notifications.AsyncReader(connection).notifications_of_order(order_id=ORDER, owner=owner)
        assert found == [Notification(ORDER, sequence, "new", NOW, USER) for sequence in (1, 2, 3)]


async def test_notifications_of_order_are_for_its_user_and_old_ones_for_nobody(
    connection: asyncpg.Connection,
) -> None:
    await add_notifications(connection, ORDER, 1)
    await add_notifications(connection, OTHER_ORDER, 1)
    await connection.execute("UPDATE notifications SET user_id = NULL WHERE order_id = $1", OTHER_ORDER)

    reader = notifications.AsyncReader(connection)
    assert await reader.notifications_of_order(order_id=ORDER, owner=OTHER_USER) == []
    assert await reader.notifications_of_order(order_id=OTHER_ORDER, owner=USER) == []


async def test_notifications_of_order_that_is_unknown_are_none(connection: asyncpg.Connection) -> None:
    await add_notifications(connection, OTHER_ORDER, 1)

    assert await notifications.AsyncReader(connection).notifications_of_order(order_id=ORDER, owner=None) == []


async def test_park_events_stores_them_in_their_order(connection: asyncpg.Connection) -> None:
    await add_orders(connection, {ORDER: 0})
    now: datetime = await connection.fetchval("SELECT now()")

    assert await park(connection, {"z": ORDER, "a": 0, "m": ORDER}) == ["z", "a", "m"]

    found = await dead_letters.AsyncReader(connection).dead_letters(after=0, batch=10)
    first = found[0].id
    assert found == [
        DeadLetter(
            first + place, event_id, order_id, 1, place, b"\x00", b"\xff", '[["sequence", "1"]]', "wrong", parked_at=now
        )
        for place, (event_id, order_id) in enumerate([("z", ORDER), ("a", None), ("m", ORDER)])
    ]


async def test_park_events_leaves_those_that_are_there(connection: asyncpg.Connection) -> None:
    await add_orders(connection, {ORDER: 0})
    await park(connection, {"first": ORDER})

    assert await park(connection, {"second": ORDER, "first": ORDER, "third": ORDER}, "other") == ["second", "third"]
    assert await letter_rows(connection) == [("first", "wrong"), ("second", "other"), ("third", "other")]


@pytest.mark.parametrize(("is_kept", "parked"), [(True, []), (False, ["event"])])
async def test_park_events_waits_for_another_one_of_the_event(pair: Pair, *, is_kept: bool, parked: list[str]) -> None:
    connection, rival = pair
    first = rival.transaction()
    await first.start()
    await park(rival, {"event": 0}, "first")

    async with asyncio.TaskGroup() as group:
        parking = group.create_task(park(connection, {"event": 0}, "second"))
        await wait_until_blocked(connection, rival)
        await (first.commit() if is_kept else first.rollback())

    assert parking.result() == parked
    assert await letter_rows(connection) == [("event", "first" if is_kept else "second")]


async def test_dead_letters_are_the_next_ones_in_the_order_in_which_they_were_parked(
    connection: asyncpg.Connection,
) -> None:
    first, second, third, _ = [await add_letter(connection, event_id, None) for event_id in "dcba"]
    reader = dead_letters.AsyncReader(connection)

    assert [letter.id for letter in await reader.dead_letters(after=0, batch=3)] == [first, second, third]
    assert [letter.event_id for letter in await reader.dead_letters(after=second, batch=3)] == ["b", "a"]


async def test_delete_dead_letter_takes_one_away_once(connection: asyncpg.Connection) -> None:
    letter_id = await add_letter(connection, "event", None)
    await add_letter(connection, "other", None)
    querier = dead_letters.AsyncQuerier(connection)

    assert [await querier.delete_dead_letter(id=letter_id) for _ in range(2)] == [1, 0]
    assert await letter_rows(connection) == [("other", "wrong")]


async def test_change_error_is_for_one_letter(connection: asyncpg.Connection) -> None:
    letter_id = await add_letter(connection, "event", None)
    await add_letter(connection, "other", None)

    await dead_letters.AsyncQuerier(connection).change_error(id=letter_id, error="still wrong")

    assert await letter_rows(connection) == [("event", "still wrong"), ("other", "wrong")]
