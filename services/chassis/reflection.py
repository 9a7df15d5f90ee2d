"""gRPC reflection, for whoever may know what there is."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from services.chassis.access import Access, token_of
from services.chassis.errors import UnauthenticatedError


class _Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]  # it has no types
    def __init__(self, services: Sequence[str], access: Access) -> None:
        super().__init__(services)
        self._access = access

    async def ServerReflectionInfo(  # noqa: N802  the name is that of the RPC
        self, requests: AsyncIterable[Any], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[Any]:
        given = context.invocation_metadata() or ()
        try:
            self._access.check_token(token_of([str(value) for key, value in given if key == "authorization"]))
        except UnauthenticatedError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, error.message)
        async for answer in super().ServerReflectionInfo(requests, context):
            yield answer


def enable_reflection(server: grpc.aio.Server, services: Sequence[str], access: Access) -> None:
    """Lets callers ask for these services and their messages: while access is on, those with a valid token."""
    served = (*services, reflection.SERVICE_NAME)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(_Reflection(served, access), server)
