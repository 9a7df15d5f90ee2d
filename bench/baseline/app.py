"""The service: `BASELINE_DATABASE_URL=postgresql+asyncpg://… uvicorn bench.baseline.app:app`. It makes its tables."""

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import joinedload

from bench.baseline.models import Base, Order, OrderItem, OrderStatus, OutboxEvent, Stock
from bench.baseline.schemas import (
    OrderCreateRequest,
    OrderCreateResponse,
    OrderInfoResponse,
    Sku,
    StocksInfoResponse,
)

CONNECTIONS = 10

engine = create_async_engine(os.environ["BASELINE_DATABASE_URL"], pool_size=CONNECTIONS, max_overflow=0)
new_session = async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


async def session_of_request() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(session_of_request)]

app = FastAPI(lifespan=lifespan)


@app.post("/order/create")
async def create_order(body: OrderCreateRequest, session: Session) -> OrderCreateResponse:
    wanted: Counter[int] = Counter()
    for item in body.items:
        wanted[item.sku] += item.count
    async with session.begin():
        order, short = await ordered(session, body.user_id, wanted)
    if short:
        raise HTTPException(412, f"not enough stock of sku {', '.join(map(str, short))}")
    return OrderCreateResponse(order_id=order.order_id)


async def ordered(session: AsyncSession, user_id: int, wanted: Counter[int]) -> tuple[Order, list[int]]:
    """Stores the order with its items and events, and reserves all of its stock or, if some skus are short, none."""
    now = datetime.now(UTC)
    locked = await session.scalars(select(Stock).where(Stock.sku.in_(wanted)).order_by(Stock.sku).with_for_update())
    stocks = {stock.sku: stock for stock in locked}
    short = [sku for sku in sorted(wanted) if sku not in stocks or stocks[sku].available < wanted[sku]]
    if not short:
        for sku, stock in stocks.items():
            stock.reserved += wanted[sku]
    status = OrderStatus.FAILED if short else OrderStatus.AWAITING_PAYMENT
    order = Order(user_id=user_id, status=status, created_at=now)
    session.add(order)
    await session.flush()
    session.add_all(OrderItem(order_id=order.order_id, sku=sku, count=count) for sku, count in wanted.items())
    session.add_all(
        OutboxEvent(order_id=order.order_id, sequence=sequence, user_id=user_id, status=event, moment=now)
        for sequence, event in enumerate((OrderStatus.NEW, status), 1)
    )
    return order, short


@app.get("/order/info")
async def order_info(order_id: Annotated[int, Query(alias="orderId", gt=0)], session: Session) -> OrderInfoResponse:
    order = await session.get(Order, order_id, options=[joinedload(Order.items)])
    if order is None:
        raise HTTPException(404, f"there is no order {order_id}")
    return OrderInfoResponse.model_validate(order)


@app.get("/stock/info")
async def stocks_info(sku: Annotated[Sku, Query()], session: Session) -> StocksInfoResponse:
    stock = await session.get(Stock, sku)
    if stock is None:
        raise HTTPException(404, f"there is no stock of sku {sku}")
    return StocksInfoResponse(count=stock.available)
