"""The services that the cart needs, in the cart's words."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from marketplace.loms.v1 import loms_pb2, loms_pb2_grpc
from marketplace.product.v1 import product_pb2, product_pb2_grpc

from services.cart.usecases import Cart, OutOfStockError, Product, ProductUnknownError
from services.chassis.cache import Cache, Store
from services.chassis.call import Call, current_call
from services.chassis.contract import rpc
from services.chassis.errors import FailedPreconditionError, InternalError, NotFoundError
from services.chassis.worker_pool import in_parallel

GET_PRODUCT = "/marketplace.product.v1.ProductService/GetProduct"
PRODUCTS_AT_ONCE = 5
"""How many products one list asks for at a time."""


class ProductClient:
    """The catalogue, asked over gRPC."""

    def __init__(self, stub: product_pb2_grpc.ProductServiceStub) -> None:
        self._stub = stub

    async def product(self, sku: int) -> Product:
        return to_product(sku, await self.ask(sku))

    async def products(self, skus: Sequence[int]) -> list[Product]:
        return await in_parallel(PRODUCTS_AT_ONCE, self.product, skus)

    async def ask(self, sku: int) -> product_pb2.GetProductResponse | None:
        """What the catalogue answers, or None if it does not have the sku."""
        try:
            answer = await self._stub.GetProduct(product_pb2.GetProductRequest(sku=sku))
        except NotFoundError:
            return None
        if answer.sku != sku:
            raise InternalError("product answered about another sku")
        return answer


class CachedProducts:
    """The catalogue. What it has answered is remembered, for callers who may know it.

    While access is off, nobody knows the caller who brings a token of his own: for him the
    catalogue is asked each time, as it has to say whether that token is good.
    """

    def __init__(
        self, client: ProductClient, cache: Cache[int, product_pb2.GetProductResponse], own_token: str
    ) -> None:
        self._client = client
        self._cache = cache
        self._own_token = own_token

    async def product(self, sku: int) -> Product:
        [product] = await self.products([sku])
        return product

    async def products(self, skus: Sequence[int]) -> list[Product]:
        if self._is_stranger(current_call.get()):
            return await self._client.products(skus)
        found = await self._cache.found(skus)
        products = {sku: to_product(sku, answer) for sku, answer in found.items()}
        if missing := [sku for sku in skus if sku not in products]:
            loaded = await in_parallel(PRODUCTS_AT_ONCE, self._loaded, missing)
            products.update(zip(missing, loaded, strict=True))
        return [products[sku] for sku in skus]

    def _is_stranger(self, call: Call | None) -> bool:
        return call is not None and call.caller is None and call.token not in {None, self._own_token}

    async def _loaded(self, sku: int) -> Product:
        return to_product(sku, await self._cache.loaded(sku))


@asynccontextmanager
async def cached_products(client: ProductClient, store: Store, own_token: str) -> AsyncIterator[CachedProducts]:
    """The catalogue, whose answers are kept in the store."""
    async with Cache(rpc(GET_PRODUCT), product_pb2.GetProductResponse, client.ask, store) as cache:
        yield CachedProducts(client, cache, own_token)


def to_product(sku: int, answer: product_pb2.GetProductResponse | None) -> Product:
    """The product in the words of the cart. Raises ProductUnknownError."""
    if answer is None:
        raise ProductUnknownError(sku)
    return Product(answer.name, answer.price)


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
