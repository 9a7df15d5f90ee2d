"""What a type checker accepts of the golden modules, and what not: an `ignore` without an error is an error."""

from collections.abc import Sequence

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from tests.unit.codegen.sqlc.golden import connections, models, orders, view


async def accepted(connection: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    found: models.Order | None = await orders.AsyncReader(connection).get_order(id=1)
    if found is not None:
        await orders.AsyncQuerier(connection).set_status(status=found.status, id=found.id)
    async with pool.acquire() as pooled:
        rows: Sequence[models.OpenOrder] = await view.AsyncReader(pooled).list_open_orders()
        await reads_of(orders.AsyncQuerier(pooled), [row.id for row in rows])


async def accepted_of_a_replica(connection: connections.ReadConnection) -> None:
    await reads_of(orders.AsyncReader(connection), [1])


async def reads_of(reader: orders.AsyncReader, ids: list[int]) -> list[models.OrderStatus | None]:
    return [await reader.get_status(id=order_id) for order_id in ids]


async def refused(
    connection: connections.ReadConnection, replica: orders.AsyncReader, pooled: PoolConnectionProxy
) -> None:
    orders.AsyncQuerier(connection)  # type: ignore[arg-type]
    await replica.set_status(status=models.OrderStatus.NEW, id=1)  # type: ignore[attr-defined]
    await replica.lock_order(id=1)  # type: ignore[attr-defined]
    await orders.AsyncQuerier(pooled).set_status(status="new", id=1)  # type: ignore[arg-type]
    await orders.AsyncQuerier(pooled).get_order(id=None)  # type: ignore[arg-type]
    (await replica.list_items(order_id=1))[0].count = 2  # type: ignore[misc]
