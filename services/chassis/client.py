"""Calls to other services.

    async with channel("127.0.0.1:50052", "loms") as loms:
        stub = LomsServiceStub(loms)

The generated stub keeps its types; what goes out with each call (the rest of the
deadline, the token, the request id) and what comes back as an error is done here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc

from services.chassis.call import current_call
from services.chassis.contract import rpc
from services.chassis.errors import DeadlineExceededError
from services.chassis.status import to_error

# A service that comes back is found within a second; the default backs off to two minutes.
RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


@asynccontextmanager
async def channel(address: str, service: str, token: str | None = None) -> AsyncIterator[grpc.aio.Channel]:
    """A channel for generated stubs. `token` goes with the calls whose own caller brought none.

    Calls raise the AppError with the code and the reason that the service answered.
    """
    async with grpc.aio.insecure_channel(address, options=RECONNECT) as connection:
        yield cast("grpc.aio.Channel", _Outgoing(connection, service, token))


class _Outgoing:
    """Stands in for the channel while a generated stub is made, and wraps its methods once."""

    def __init__(self, connection: grpc.aio.Channel, service: str, token: str | None) -> None:
        self._connection = connection
        self._service = service
        self._token = token

    def unary_unary(self, path: str, *arguments: Any, **more: Any) -> Callable[[Any], Awaitable[Any]]:
        method: Any = self._connection.unary_unary(path, *arguments, **more)
        described = rpc(path)

        async def invoke(request: Any) -> Any:
            call = current_call.get()
            token = (call.token if call else None) or self._token
            metadata = [("authorization", f"Bearer {token}")] if token else []
            seconds = described.default_deadline
            if call is not None:
                metadata.append(("x-request-id", call.request_id))
                seconds = call.deadline - asyncio.get_running_loop().time()
                if seconds <= 0:
                    raise DeadlineExceededError("the deadline of the call has passed")
            try:
                return await method(request, timeout=seconds, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise to_error(error, self._service) from error

        return invoke
