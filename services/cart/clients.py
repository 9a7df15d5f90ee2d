"""The services that the cart needs, in the cart's words."""

from uuid import UUID

from marketplace.loms.v1 import loms_pb2, loms_pb2_grpc
from marketplace.product.v1 import product_pb2, product_pb2_grpc

from services.cart.usecases import Cart, OutOfStockError, Product, ProductUnknownError
from services.chassis.errors import FailedPreconditionError, NotFoundError


class ProductClient:
    """The catalogue, asked over gRPC."""

    def __init__(self, stub: product_pb2_grpc.ProductServiceStub) -> None:
        self._stub = stub

    async def product(self, sku: int) -> Product:
        try:
            found = await self._stub.GetProduct(product_pb2.GetProductRequest(sku=sku))
        except NotFoundError:
            raise ProductUnknownError(sku) from None
        return Product(found.name, found.price)


class LomsClient:
    """Orders and stock, asked over gRPC."""

    def __init__(self, stub: loms_pb2_grpc.LomsServiceStub) -> None:
        self._stub = stub

    async def available(self, sku: int) -> int:
        try:
            stock = await self._stub.StocksInfo(loms_pb2.StocksInfoRequest(sku=sku))
        except NotFoundError:
            return 0
        return stock.count

    async def create_order(self, cart: Cart, request_id: UUID) -> int:
        request = loms_pb2.OrderCreateRequest(
            user_id=cart.user_id,
            items=[loms_pb2.OrderItem(sku=item.sku, count=item.count) for item in cart.items],
            request_id=str(request_id),
        )
        try:
            created = await self._stub.OrderCreate(request)
        except FailedPreconditionError as error:
            raise OutOfStockError(error.message, **error.facts) from None
        return created.order_id
