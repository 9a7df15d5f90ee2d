"""Orders and stock in PostgreSQL. Each method is one statement, and so one transaction."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from loms_db import orders, outbox, stocks
from loms_db.models import ORDER_STATUS_BY_VALUE, OrderStatus

from services.chassis.bell import Bell
from services.chassis.call import current_traceparent
from services.chassis.postgres import Database, Reads
from services.loms.usecases import (
    ORDERS,
    Backlog,
    Change,
    Created,
    Item,
    NewOrder,
    Order,
    RequestIdReusedError,
    Status,
    StatusChanged,
    StockEffect,
)


class PostgresStorage:
    """Orders, stock and the outbox. A replica may answer what an order and a stock are."""

    def __init__(self, database: Database, reads: Reads, bell: Bell | None = None) -> None:
        self._database = database
        self._reads = reads
        self._bell = bell or Bell()
        self._leads = False

    async def create(self, order: NewOrder, now: datetime) -> Created:
        new = orders.CreateOrderParams(
            user_id=order.user_id,
            request_id=order.request_id,
            body_hash=body_hash(order.items),
            moment=now,
            skus=[item.sku for item in order.items],
            counts=[item.count for item in order.items],
            traceparent=current_traceparent(),
        )
        created = await self._database.write(
            lambda connection: orders.AsyncQuerier(connection).create_order(new),
            repeatable=order.request_id is not None,
        )
        if created is not None:
            ORDERS.add(Status.NEW)
            ORDERS.add(Status.FAILED if created.short else Status.AWAITING_PAYMENT)
            self._ring()
            return Created(created.order_id, tuple(created.short))
        assert order.request_id is not None
        return await self._created_before(order.user_id, order.request_id, new.body_hash)

    async def _created_before(self, user_id: int, request_id: UUID, body: bytes) -> Created:
        first = await self._database.read(
            lambda connection: orders.AsyncReader(connection).order_of_request(user_id=user_id, request_id=request_id)
        )
        if first is None or first.body_hash != body:
            raise RequestIdReusedError(request_id)
        return Created(first.order_id, tuple(first.short))

    async def forget_requests(self, used_before: datetime, limit: int) -> int:
        return await self._database.write(
            lambda connection: orders.AsyncQuerier(connection).forget_requests(used_before=used_before, batch=limit),
            repeatable=True,
        )

    async def order(self, order_id: int, owner: int | None = None) -> Order | None:
        row = await self._reads.read(
            lambda connection: orders.AsyncReader(connection).order(order_id=order_id, owner=owner)
        )
        if row is None:
            return None
        items = tuple(map(Item, row.skus, row.counts))
        return Order(row.order_id, row.user_id, Status(row.status), items)

    async def change(self, order_id: int, change: Change, now: datetime, owner: int | None = None) -> Status | None:
        step = orders.ChangeOrderParams(
            order_id=order_id,
            owner=owner,
            target=ORDER_STATUS_BY_VALUE[change.target],
            sold=change.stock is StockEffect.SELL,
            moment=now,
            traceparent=current_traceparent(),
        )
        found = await self._database.write(
            lambda connection: orders.AsyncQuerier(connection).change_order(step), repeatable=True
        )
        if found is OrderStatus.AWAITING_PAYMENT:
            ORDERS.add(change.target)
            self._ring()
        return None if found is None else Status(found)

    async def change_unpaid(self, created_before: datetime, change: Change, now: datetime, limit: int) -> list[int]:
        due = orders.ChangeUnpaidOrdersParams(
            created_before=created_before,
            batch=limit,
            target=ORDER_STATUS_BY_VALUE[change.target],
            sold=change.stock is StockEffect.SELL,
            moment=now,
        )
        changed = await self._database.write(
            lambda connection: orders.AsyncQuerier(connection).change_unpaid_orders(due), repeatable=True
        )
        if changed:
            ORDERS.add(change.target, len(changed))
            self._ring()
        return changed

    async def available(self, sku: int) -> int | None:
        return await self._reads.read(lambda connection: stocks.AsyncReader(connection).available_stock(sku=sku))

    async def lead(self, relay_id: UUID, seconds: float) -> bool:
        leads = await self._database.write(
            lambda connection: outbox.AsyncQuerier(connection).lead(relay_id=relay_id, seconds=seconds),
            repeatable=True,
        )
        self._leads = bool(leads)
        return self._leads

    async def resign(self, relay_id: UUID) -> None:
        await self._database.write(
            lambda connection: outbox.AsyncQuerier(connection).resign(relay_id=relay_id), repeatable=True
        )

    async def changed(self, seconds: float) -> None:
        await self._bell.wait(seconds)

    async def unsent(self, limit: int) -> Sequence[StatusChanged]:
        rows = await self._database.read(lambda connection: outbox.AsyncReader(connection).unsent_events(batch=limit))
        return [
            StatusChanged(
                *(row.id, row.event_id, row.order_id, row.sequence),
                *(row.user_id, Status(row.status), row.moment, row.traceparent),
            )
            for row in rows
        ]

    async def sent(self, events: Sequence[StatusChanged]) -> None:
        ids = [event.id for event in events]
        await self._database.write(
            lambda connection: outbox.AsyncQuerier(connection).delete_events(ids=ids), repeatable=True
        )

    async def backlog(self) -> Backlog:
        found = await self._database.read(lambda connection: outbox.AsyncReader(connection).backlog())
        assert found is not None
        return Backlog(found.events, found.oldest_seconds)

    def _ring(self) -> None:
        """Tells whoever sends that there are events."""
        self._bell.ring(elsewhere=not self._leads)


def body_hash(items: Sequence[Item]) -> bytes:
    """Tells orders with other items apart."""
    return sha256(";".join(f"{item.sku}:{item.count}" for item in items).encode()).digest()
