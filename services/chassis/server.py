"""The gRPC server of a service: registration, health, reflection, side port, drain."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.chassis.access import Access, access_of
from services.chassis.contract import ContractError, Rpc, rpc
from services.chassis.listening import listener
from services.chassis.log import get_logger
from services.chassis.metrics import loop_watched
from services.chassis.reflection import enable_reflection
from services.chassis.rules import warm_up
from services.chassis.settings import ServiceSettings
from services.chassis.side_port import side_port
from services.chassis.tls import server_credentials, tls_of
from services.chassis.tracers import tracer_of
from services.chassis.wrapping import Context, Method, Observer, Running, wrapped

__all__ = ["Context", "Servicer", "servicer", "serving"]

S = TypeVar("S")

PINGS = ("grpc.http2.min_ping_interval_without_data_ms", 1_000)
"""Callers may ask once a second whether a service is alive. gRPC ends the connection of those who ask more than once in
five minutes; the gateway does each half minute.
"""


@dataclass(frozen=True, slots=True)
class Servicer:
    """A filled-in servicer and the generated function that registers it."""

    add_to: Callable[[grpc.aio.Server], None]


def servicer(add: Callable[[S, grpc.aio.Server], None], filled_in: S) -> Servicer:
    """Pairs the generated `add_…Servicer_to_server` with an instance; the types agree or mypy says so."""
    return Servicer(lambda server: add(filled_in, server))


@asynccontextmanager
async def serving(
    settings: ServiceSettings, *servicers: Servicer, known_tokens: Collection[str] = ()
) -> AsyncIterator[int]:
    """Serves until the block ends; gives the port.

    While access is off, `known_tokens` are the tokens for the RPCs that need one.
    At the end it reports NOT_SERVING, serves on for as long as the settings say, so that
    callers find another replica, takes no more calls then and lets the running ones finish.
    """
    log = get_logger(settings.service)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), PINGS])
    access = access_of(settings, known_tokens, log)
    tracer = tracer_of(settings.service)
    registry = _Registry(server, access, lambda called: Observer(called, log, tracer, settings.log_calls))
    for one in servicers:
        one.add_to(cast("grpc.aio.Server", registry))
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    enable_reflection(server, (*registry.services, health.SERVICE_NAME), access)
    port = _listen(server, settings)
    await server.start()
    try:
        async with loop_watched(), side_port(settings, ready=lambda: _is_serving(health_servicer)):
            for service in registry.services:
                await health_servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
            log.info("serving", port=port)
            try:
                yield port
            finally:
                await health_servicer.enter_graceful_shutdown()
                await asyncio.sleep(settings.notice_seconds)
    finally:
        await server.stop(settings.drain_seconds)
        await registry.idle()
        log.info("stopped")


def _listen(server: grpc.aio.Server, settings: ServiceSettings) -> int:
    listener(settings, "listen").close()  # gRPC would say in its own words that an address is taken
    tls = tls_of(settings)
    if tls is None:
        return server.add_insecure_port(settings.listen)
    return server.add_secure_port(settings.listen, server_credentials(tls))


async def _is_serving(health_servicer: health.aio.HealthServicer) -> bool:
    answer = await health_servicer.Check(health_pb2.HealthCheckRequest(), None)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


class _Registry:
    """Stands in for the server while the generated code registers a servicer, and wraps its methods."""

    def __init__(self, server: grpc.aio.Server, access: Access, observer_of: Callable[[Rpc], Observer]) -> None:
        self._server = server
        self._access = access
        self._observer_of = observer_of
        self._running = Running()
        self.services: list[str] = []

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """The same methods come once more, by name, in add_registered_method_handlers."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
    ) -> None:
        described = descriptor_pool.Default().FindServiceByName(service)
        methods = {name: self._wrap(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        for method in described.methods:
            warm_up(method.input_type)
        self.services.append(service)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))

    async def idle(self) -> None:
        """Waits for the ends of aborted calls: `server.stop` does not (grpc/grpc issue 37239)."""
        await self._running.idle()

    def _wrap(self, path: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> "grpc.RpcMethodHandler[Any, Any]":
        method = cast("Method | None", handler.unary_unary)
        if method is None:
            raise ContractError(f"{path} streams, and the chassis serves unary calls only")
        if getattr(method, "__module__", "").endswith("_pb2_grpc"):
            raise ContractError(f"{path} is not filled in")
        called = rpc(path)
        served = wrapped(called, method, self._access, self._running, self._observer_of(called))
        return grpc.unary_unary_rpc_method_handler(
            cast("Any", served),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
