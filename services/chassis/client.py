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
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar, cast

import grpc
from chassis.v1 import options_pb2 as options

from services.chassis.attempts import TRACEPARENT, Attempts, Calls, Metadata
from services.chassis.call import current_call
from services.chassis.circuit_breaker import CircuitBreaker
from services.chassis.contract import Rpc, rpc
from services.chassis.errors import DeadlineExceededError, UnavailableError
from services.chassis.metrics import (
    RATE_LIMITER_WAIT,
    RPC_CLIENT_CIRCUIT_OPEN,
    RPC_CLIENT_RETRIES,
)
from services.chassis.rate_limiter import RateLimiter, Turns
from services.chassis.retries import RetryBudget, backoff
from services.chassis.status import code_of, retry_delay, to_error
from services.chassis.tls import Tls, channel_to

S = TypeVar("S")
LimiterOf: TypeAlias = "Callable[[Rpc], Turns]"
"""Makes the limiter of an RPC whose contract has a rate."""

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


class _Outgoing:
    """Stands in for the channel while a generated stub is made, and wraps its methods once."""

    def __init__(self, channel: grpc.aio.Channel, service: str, token: str | None) -> None:
        self._channel = channel
        self._service = service
        self._token = token
        self._breaker = CircuitBreaker()
        self._budget = RetryBudget()
        self._services: set[str] = set()

    def circuits(self) -> dict[tuple[str, ...], float]:
        """1 for each service that is spared calls, 0 for the others."""
        return {(service,): float(self._breaker.is_open) for service in self._services}

    def unary_unary(self, path: str, *arguments: Any, **more: Any) -> Calls:
        called = rpc(path)
        method: Any = self._channel.unary_unary(path, *arguments, **more)
        attempts = Attempts(called, method, self._service, self._breaker)
        retries = RPC_CLIENT_RETRIES.labels(*called.name.split("/"))
        self._services.add(called.name.partition("/")[0])
        now = asyncio.get_running_loop().time

        async def invoke(request: Any) -> Any:
            call = current_call.get()
            deadline = call.deadline if call else now() + called.default_deadline
            metadata = self._metadata()
            attempt = 0
            while True:
                attempt += 1
                self._check(deadline - now())
                try:
                    answer = await attempts.make(request, deadline - now(), metadata)
                except grpc.aio.AioRpcError as error:
                    pause = self._pause(called, request, attempt, error)
                    if now() + pause >= deadline:
                        raise to_error(error, self._service) from error
                else:
                    self._budget.succeeded()
                    return answer
                await asyncio.sleep(pause)
                retries.inc()

        return invoke

    def _check(self, seconds: float) -> None:
        """Raises the error of a call that has so many seconds left and need not be made."""
        if seconds <= 0:
            raise DeadlineExceededError("the deadline of the call has passed")
        if not self._breaker.lets_through():
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
            self._breaker.succeeded()
        retry = called.retry
        if retry is None or code not in retry.codes or not called.may_be_repeated(request):
            return math.inf
        if not self._budget.failed() or attempt == retry.attempts:
            return math.inf
        return max(backoff(retry, attempt), retry_delay(error))


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
