"""ProductService in the words of the contract: messages in, messages out."""

from marketplace.product.v1 import product_pb2 as pb
from marketplace.product.v1 import product_pb2_grpc as pb_grpc

from services.chassis.server import Context
from services.product.usecases import Catalogue


class ProductServicer(pb_grpc.ProductServiceServicer):
    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def GetProduct(self, request: pb.GetProductRequest, context: Context) -> pb.GetProductResponse:
        product = self._catalogue.product(request.sku)
        return pb.GetProductResponse(sku=product.sku, name=product.name, price=product.price)

    async def ListSkus(self, request: pb.ListSkusRequest, context: Context) -> pb.ListSkusResponse:
        count = request.count if request.HasField("count") else None
        return pb.ListSkusResponse(skus=self._catalogue.skus(request.start_after_sku, count))
