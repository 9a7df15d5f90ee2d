"""Calls to other services.

    async with client(LomsServiceStub, "127.0.0.1:50052", "loms") as loms:
        await loms.StocksInfo(StocksInfoRequest(sku=1))

The generated stub keeps its types. What goes out with each call (the rest of the
deadline, the token, the request id, the trace), what is done about errors that pass, how
fast calls start and what comes back as an error is done here, as the contract says.
"""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar, cast

import grpc
from chassis.v1 import options_pb2 as options
from google.protobuf.message import Message

from services.chassis.call import current_call, current_span
from services.chassis.circuit_breaker import CircuitBreaker
from services.chassis.contract import Rpc, rpc
from services.chassis.errors import AppError, DeadlineExceededError, InternalError, UnavailableError
from services.chassis.metrics import (
    RATE_LIMITER_WAIT,
    RPC_CLIENT_CIRCUIT_OPEN,
    RPC_CLIENT_DURATION,
    RPC_CLIENT_RETRIES,
    Durations,
)
from services.chassis.rate_limiter import RateLimiter, Turns
from services.chassis.retries import RetryBudget, backoff
from services.chassis.rules import BrokenRulesError, check_rules
from services.chassis.status import GRPC_CODES, code_of, retry_delay, to_error
from services.chassis.tls import Tls, channel_to
from services.chassis.traces import rpc_attributes

S = TypeVar("S")
Calls: TypeAlias = "Callable[..., Awaitable[Any]]"
Metadata: TypeAlias = "list[tuple[str, str]]"
LimiterOf: TypeAlias = "Callable[[Rpc], Turns]"
"""Makes the limiter of an RPC whose contract has a rate."""

TRACEPARENT = "traceparent"
OPTIONS = [
    # A service that comes back is found within a second; the default backs off to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Each replica behind the name gets its share.
    ("grpc.lb_policy_name", "round_robin"),
    # No answer of ours comes near it.
    ("grpc.max_receive_message_length", 2**20),
]
OF_REPLICAS = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
"""A replica that reports NOT_SERVING, because it is about to stop, gets no more calls."""


def own_limiter(limited: Rpc) -> Turns:
    """The limiter of a process that shares no limit with others."""
    assert limited.rate is not None
    return RateLimiter(limited.rate.per_second, limited.rate.burst)


@asynccontextmanager
async def client(  # noqa: PLR0913  two say who is called, the others are optional
    stub: Callable[[grpc.aio.Channel], S],
    address: str,
    service: str,
    token: str | None = None,
    limiter_of: LimiterOf = own_limiter,
    *,
    tls: Tls | None = None,
) -> AsyncIterator[S]:
    """A generated stub for the service at an address, which is as `Replicas` in the settings.

    `token` goes with the calls whose own caller brought none. Calls raise the AppError with
    the code and the reason that the service answered. With `tls` it has to show the
    certificate of `service`, and is shown our own.
    """
    limiters = {path.encode(): limiter_of(called) for path, called in _rpcs(stub).items() if called.rate is not None}
    interceptors = [RateLimitInterceptor(limiters)] if limiters else []
    target, options = address, OPTIONS
    if "," in address:
        target, options = f"ipv4:{address}", [*OPTIONS, ("grpc.service_config", json.dumps(OF_REPLICAS))]
    async with channel_to(target, service, tls, options, interceptors) as channel:
        outgoing = _Outgoing(channel, service, token)
        with RPC_CLIENT_CIRCUIT_OPEN.source(outgoing.circuits):
            yield stub(cast("grpc.aio.Channel", outgoing))


class RateLimitInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """Has the calls of some RPCs wait for their turn, within their deadlines."""

    def __init__(self, limiters: Mapping[bytes, Turns]) -> None:
        self._limiters = limiters
        self._waits = {path: RATE_LIMITER_WAIT.labels(*_names(path.decode())) for path in limiters}

    async def intercept_unary_unary(
        self, continuation: Calls, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        details = client_call_details
        limiter = self._limiters.get(cast("bytes", details.method))  # its type is not what it says
        if limiter is None:
            return await continuation(details, request)
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + (details.timeout or 0.0)
        try:
            async with asyncio.timeout_at(deadline):
                await limiter.turn()
        except TimeoutError:
            raise DeadlineExceededError("the deadline of the call has passed before its turn came") from None
        finally:
            self._waits[cast("bytes", details.method)].observe(loop.time() - began)
        left = grpc.aio.ClientCallDetails(
            details.method, deadline - loop.time(), details.metadata, details.credentials, details.wait_for_ready
        )
        return await continuation(left, request)


class _Attempts:
    """Makes the attempts of calls of an RPC, and tells of each how it ended and how long it took, its turn included."""

    def __init__(self, called: Rpc, method: Calls, service: str) -> None:
        self._name = called.name
        self._method = method
        self._service = service
        self._durations = Durations(RPC_CLIENT_DURATION, *called.name.split("/"))
        self._attributes = rpc_attributes(called.path)

    async def make(self, request: Any, seconds: float, metadata: Metadata) -> Any:
        current = current_span()
        span = current.child(self._name, "client", self._attributes) if current else None
        if span is not None:
            metadata = [*(pair for pair in metadata if pair[0] != TRACEPARENT), (TRACEPARENT, span.traceparent)]
        began, code = time.perf_counter(), "CANCELLED"
        try:
            answer = await self._method(request, timeout=seconds, metadata=metadata)
            if not _keeps_rules(answer):
                raise InternalError(f"{self._service} answered against its contract")
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
                span.end(failed=code != "OK")
        return answer


class _Outgoing:
    """Stands in for the channel while a generated stub is made, and wraps its methods once."""

    def __init__(self, channel: grpc.aio.Channel, service: str, token: str | None) -> None:
        self._channel = channel
        self._service = service
        self._token = token
        self._breaker = CircuitBreaker()
        self._budget = RetryBudget()
        self._is_open: dict[str, bool] = {}
        """By service, whether calls of it were last refused by the breaker."""

    def circuits(self) -> dict[tuple[str, ...], float]:
        """1 for each service that is spared calls, 0 for the others."""
        return {(service,): float(is_open) for service, is_open in self._is_open.items()}

    def unary_unary(self, path: str, *arguments: Any, **more: Any) -> Calls:
        method: Any = self._channel.unary_unary(path, *arguments, **more)
        called = rpc(path)
        retries = RPC_CLIENT_RETRIES.labels(*called.name.split("/"))
        attempts = _Attempts(called, method, self._service)
        service = called.name.partition("/")[0]
        self._is_open[service] = False
        now = asyncio.get_running_loop().time

        async def invoke(request: Any) -> Any:
            call = current_call.get()
            deadline = call.deadline if call else now() + called.default_deadline
            metadata = self._metadata()
            attempt = 0
            while True:
                attempt += 1
                self._check(service, deadline - now())
                if attempt > 1:
                    retries.inc()
                try:
                    answer = await attempts.make(request, deadline - now(), metadata)
                except grpc.aio.AioRpcError as error:
                    pause = self._pause(called, request, attempt, error)
                    if now() + pause >= deadline:
                        raise to_error(error, self._service) from error
                except InternalError:
                    self._reached(service)
                    raise
                else:
                    self._reached(service)
                    self._budget.succeeded()
                    return answer
                await asyncio.sleep(pause)

        return invoke

    def _reached(self, service: str) -> None:
        self._breaker.succeeded()
        self._is_open[service] = False

    def _check(self, service: str, seconds: float) -> None:
        """Raises the error of a call that has so many seconds left and need not be made."""
        if seconds <= 0:
            raise DeadlineExceededError("the deadline of the call has passed")
        if not self._breaker.lets_through():
            self._is_open[service] = True
            raise UnavailableError(f"{self._service} cannot be reached")

    def _metadata(self) -> Metadata:
        """What goes with a call: what came with the one that is being served."""
        call = current_call.get()
        token = (call.token if call else None) or self._token
        metadata = [("authorization", f"Bearer {token}")] if token else []
        if call is not None:
            metadata.append(("x-request-id", call.request_id))
            if call.traceparent is not None:
                metadata.append((TRACEPARENT, call.traceparent))
        return metadata

    def _pause(self, called: Rpc, request: Any, attempt: int, error: grpc.aio.AioRpcError) -> float:
        """How many seconds to wait until the call is made again: for ever if it is not."""
        code = code_of(error)
        if code == options.CODE_UNAVAILABLE:
            self._breaker.failed()
        else:
            self._reached(called.name.partition("/")[0])
        retry = called.retry
        if retry is None or code not in retry.codes or not called.may_be_repeated(request):
            return math.inf
        if not self._budget.failed() or attempt == retry.attempts:
            return math.inf
        return max(backoff(retry, attempt), retry_delay(error))


def _keeps_rules(answer: Message | None) -> bool:
    """Whether an answer keeps its rules. Bytes that are no message come as None."""
    if answer is None:
        return False
    try:
        check_rules(answer)
    except BrokenRulesError:
        return False
    return True


def _names(path: str) -> list[str]:
    """The names of service and method: those of `/marketplace.loms.v1.LomsService/OrderCreate` without the package."""
    return path.rpartition(".")[2].split("/")


def _rpcs(stub: Callable[[grpc.aio.Channel], object]) -> dict[str, Rpc]:
    """The RPCs of a generated stub, by their paths."""
    found = _Paths()
    stub(cast("grpc.aio.Channel", found))
    return {path: rpc(path) for path in found.paths}


class _Paths:
    """Stands in for a channel, to learn which paths a stub calls."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def unary_unary(self, path: str, *_arguments: Any, **_more: Any) -> None:
        self.paths.append(path)
