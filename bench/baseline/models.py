"""The tables: those of LOMS."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, DateTime, Enum, ForeignKey, Identity
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class OrderStatus(StrEnum):
    NEW = "new"
    AWAITING_PAYMENT = "awaiting payment"
    FAILED = "failed"
    PAYED = "payed"
    CANCELLED = "cancelled"


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads it from the class
        int: BigInteger,
        datetime: DateTime(timezone=True),
        OrderStatus: Enum(OrderStatus, name="order_status", values_callable=lambda all_: [each.value for each in all_]),
    }


class Stock(Base):
    __tablename__ = "stocks"

    sku: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    total: Mapped[int]
    reserved: Mapped[int] = mapped_column(default=0)

    @property
    def available(self) -> int:
        return self.total - self.reserved


class OrderItem(Base):
    __tablename__ = "order_items"

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.order_id"), primary_key=True)
    sku: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]


class Order(Base):
    __tablename__ = "orders"

    order_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int]
    status: Mapped[OrderStatus]
    created_at: Mapped[datetime]
    items: Mapped[list[OrderItem]] = relationship(order_by=OrderItem.sku)


class OutboxEvent(Base):
    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    event_id: Mapped[UUID] = mapped_column(default=uuid4)
    order_id: Mapped[int]
    sequence: Mapped[int]
    user_id: Mapped[int]
    status: Mapped[OrderStatus]
    moment: Mapped[datetime]
