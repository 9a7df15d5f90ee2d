"""A catalogue that does as it is told, to see what its callers do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from marketplace.product.v1 import product_pb2 as pb
from marketplace.product.v1.product_pb2_grpc import add_ProductServiceServicer_to_server

from services.chassis.errors import AppError
from services.chassis.server import Context
from services.chassis.status import DETAILS_KEY, GRPC_CODES, of_error
from services.product.servicer import ProductServicer


@dataclass
class Products(ProductServicer):
    """A catalogue that fails as it is told."""

    failures: list[AppError] = field(default_factory=list)
    always: AppError | None = None
    hangs: bool = False
    calls: list[float] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    remaining: list[float | None] = field(default_factory=list)
    cancelled: int = 0

    async def GetProduct(self, request: pb.GetProductRequest, context: Context) -> pb.GetProductResponse:
        self.calls.append(asyncio.get_running_loop().time())
        self.metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        self.remaining.append(context.time_remaining())
        if self.hangs:
            await self._hang()
        error = self.failures.pop(0) if self.failures else self.always
        if error is not None:
            status = of_error(error)
            details = ((DETAILS_KEY, status.SerializeToString()),)
            await context.abort(GRPC_CODES[error.code], error.message, details)
        return pb.GetProductResponse(sku=request.sku, name="a", price=1)

    async def ListSkus(self, request: pb.ListSkusRequest, context: Context) -> pb.ListSkusResponse:
        self.calls.append(asyncio.get_running_loop().time())
        return pb.ListSkusResponse()

    async def _hang(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1


@asynccontextmanager
async def serving(products: Products, port: int = 0) -> AsyncIterator[tuple[int, grpc.aio.Server]]:
    """The port and the server of a catalogue."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_ProductServiceServicer_to_server(products, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port, server
    finally:
        await server.stop(0)
