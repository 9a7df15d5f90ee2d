"""The attempts of calls to other services, one by one."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from services.chassis.call import current_span
from services.chassis.circuit_breaker import CircuitBreaker
from services.chassis.contract import Rpc
from services.chassis.errors import AppError, InternalError
from services.chassis.metrics import RPC_CLIENT_DURATION, Durations
from services.chassis.rules import BrokenRulesError, check_rules
from services.chassis.status import CODE_ATTRIBUTES, GRPC_CODES
from services.chassis.traces import rpc_attributes

Calls: TypeAlias = "Callable[..., Awaitable[Any]]"
Metadata: TypeAlias = "list[tuple[str, str]]"

TRACEPARENT = "traceparent"


class Attempts:
    """Makes the attempts of calls of an RPC, and tells of each how it ended and how long it took, its turn included."""

    def __init__(self, called: Rpc, method: Calls, service: str, breaker: CircuitBreaker) -> None:
        self._name = called.name
        self._method = method
        self._service = service
        self._breaker = breaker
        self._durations = Durations(RPC_CLIENT_DURATION, *called.name.split("/"))
        self._attributes = rpc_attributes(called.path)

    async def make(self, request: Any, seconds: float, metadata: Metadata) -> Any:
        """The answer. Raises grpc.aio.AioRpcError, and InternalError when it breaks its contract."""
        current = current_span()
        span = current.child(self._name, "client", self._attributes) if current else None
        if span is not None:
            metadata = [*(pair for pair in metadata if pair[0] != TRACEPARENT), (TRACEPARENT, span.traceparent)]
        began, code = time.perf_counter(), "CANCELLED"
        try:
            answer = await self._method(request, timeout=seconds, metadata=metadata)
            self._breaker.succeeded()
            self._check(answer)
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            raise
        except AppError as error:
            code = GRPC_CODES[error.code].name
            raise
        finally:
            self._durations.observe(code, time.perf_counter() - began)
            if span is not None:
                span.end(CODE_ATTRIBUTES[code], failed=code != "OK")
        return answer

    def _check(self, answer: Message | None) -> None:
        """Raises InternalError when an answer breaks its rules. Bytes that are no message come as None."""
        try:
            if answer is not None:
                check_rules(answer)
                return
        except BrokenRulesError:
            pass
        raise InternalError(f"{self._service} answered against its contract")
