"""The JSON: that of the gateway."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from bench.baseline.models import OrderStatus

Int64 = Annotated[int, PlainSerializer(str)]
"""A number that is text in JSON."""
Sku = Annotated[int, Field(gt=0, lt=2**32)]


class Schema(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, from_attributes=True)


class NewItem(Schema):
    sku: Sku
    count: Annotated[int, Field(ge=1, le=65535)]


class OrderCreateRequest(Schema):
    user_id: Annotated[int, Field(gt=0)]
    items: Annotated[list[NewItem], Field(min_length=1, max_length=100)]


class OrderCreateResponse(Schema):
    order_id: Int64


class OrderLine(Schema):
    sku: int
    count: int


class OrderInfoResponse(Schema):
    status: OrderStatus
    user_id: Int64
    items: list[OrderLine]


class StocksInfoResponse(Schema):
    count: Int64
