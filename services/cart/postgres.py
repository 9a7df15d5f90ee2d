"""Carts in PostgreSQL.

Whatever changes a cart locks its row first: the statement after that sees what
everybody before it has done.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from cart_db import carts

from services.cart.usecases import Added, Cart, Item
from services.chassis.postgres import Connection, Database


class PostgresStorage:
    """Carts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user_id: int, item: Item, line_limit: int, cart_limit: int) -> Added:
        new = carts.AddItemParams(
            user_id=user_id, sku=item.sku, count=item.count, line_limit=line_limit, cart_limit=cart_limit
        )

        async def work(connection: Connection) -> carts.AddItemRow | None:
            async with locked(connection, user_id) as querier:
                return await querier.add_item(new)

        verdict = await self._database.write(work, repeatable=False)
        assert verdict is not None
        if verdict.is_line_full:
            return Added.LINE_FULL
        return Added.CART_FULL if verdict.is_cart_full else Added.DONE

    async def delete(self, user_id: int, sku: int) -> None:
        async def work(connection: Connection) -> None:
            async with locked(connection, user_id) as querier:
                await querier.delete_item(user_id=user_id, sku=sku)

        await self._database.write(work, repeatable=True)

    async def clear(self, user_id: int) -> None:
        async def work(connection: Connection) -> None:
            async with locked(connection, user_id) as querier:
                await querier.clear_cart(user_id=user_id)

        await self._database.write(work, repeatable=True)

    async def cart(self, user_id: int) -> Cart:
        row = await self._database.read(lambda connection: carts.AsyncReader(connection).cart(user_id=user_id))
        if row is None:
            return Cart(user_id, 0, ())
        return Cart(user_id, row.version, tuple(map(Item, row.skus, row.counts)))

    async def ordered(self, user_id: int, request_id: UUID) -> int | None:
        return await self._database.read(
            lambda connection: carts.AsyncReader(connection).order_of_checkout(user_id=user_id, request_id=request_id)
        )

    async def finish_checkout(self, cart: Cart, order_id: int, request_id: UUID | None, now: datetime) -> None:
        async def work(connection: Connection) -> None:
            async with locked(connection, cart.user_id) as querier:
                if request_id is not None:
                    await querier.remember_checkout(
                        user_id=cart.user_id, request_id=request_id, order_id=order_id, moment=now
                    )
                await querier.take_ordered(
                    user_id=cart.user_id,
                    version=cart.version,
                    skus=[item.sku for item in cart.items],
                    counts=[item.count for item in cart.items],
                )

        await self._database.write(work, repeatable=True)

    async def forget_requests(self, used_before: datetime, limit: int) -> int:
        return await self._database.write(
            lambda connection: carts.AsyncQuerier(connection).forget_checkouts(used_before=used_before, batch=limit),
            repeatable=True,
        )

    async def refuse_checkout(self, cart: Cart) -> None:
        await self._database.write(
            lambda connection: carts.AsyncQuerier(connection).refuse_checkout(
                user_id=cart.user_id, version=cart.version
            ),
            repeatable=True,
        )


@asynccontextmanager
async def locked(connection: Connection, user_id: int) -> AsyncIterator[carts.AsyncQuerier]:
    """The queries, within a transaction that has locked the cart of the user."""
    async with connection.transaction():
        querier = carts.AsyncQuerier(connection)
        await querier.lock_cart(user_id=user_id)
        yield querier
