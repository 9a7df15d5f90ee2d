"""Spans: what a call does, and for how long, for whoever collects traces.

The variables are those of OpenTelemetry: OTEL_TRACES_EXPORTER (otlp, zipkin or none, which is the
default), OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_ZIPKIN_ENDPOINT, OTEL_TRACES_SAMPLER,
OTEL_TRACES_SAMPLER_ARG, OTEL_SERVICE_NAME and OTEL_SDK_DISABLED. Without an exporter nothing of it is imported,
and for a trace that is not sampled nothing of it runs.
"""

import os
import random
import re
import threading
import time
from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
CLOSE_SECONDS = 1.0
"""How long the end of a process may take to send what is left."""

Attributes: TypeAlias = Mapping[str, str | int]
Kind = Literal["server", "client", "producer", "consumer"]


class Span(Protocol):
    """A piece of work of a sampled trace."""

    @property
    def traceparent(self) -> str:
        """What those who work for it get, as W3C Trace Context writes it."""
        ...

    def child(self, name: str, kind: Kind, attributes: Attributes) -> "Span":
        """A span within it."""
        ...

    def end(self, attributes: Attributes | None = None, *, failed: bool = False) -> None:
        """The work is done. Nothing more is told of it."""
        ...


class Tracer(Protocol):
    """Makes the spans of a service."""

    def span(self, name: str, kind: Kind, attributes: Attributes, traceparent: str | None) -> Span | None:
        """A span for somebody elsewhere, or the first one of a trace. None if it is not sampled."""
        ...

    def close(self) -> None:
        """Sends what is left."""
        ...


_tracers: dict[str, Tracer] = {}


def tracer_of(service: str) -> Tracer | None:
    """Who makes the spans of a service; None while nobody collects them. Raises StartError when the variables are
    of no use.
    """
    if service not in _tracers and _is_wanted():
        from services.chassis.spans import tracer  # noqa: PLC0415  it takes half a second, and traces may be off

        _tracers[service] = tracer(service)
    return _tracers.get(service)


def _is_wanted() -> bool:
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not is_disabled and os.environ.get("OTEL_TRACES_EXPORTER", "none") != "none"


def close_tracers() -> None:
    """Sends the spans that are left, as far as that is done in CLOSE_SECONDS."""
    closing = [threading.Thread(target=tracer.close, daemon=True) for tracer in _tracers.values()]
    _tracers.clear()
    deadline = time.monotonic() + CLOSE_SECONDS
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join(max(0.0, deadline - time.monotonic()))


def rpc_attributes(path: str) -> Attributes:
    """What a span tells of an RPC, whose path is as it is called: `/marketplace.loms.v1.LomsService/OrderCreate`."""
    service, _, method = path.removeprefix("/").partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


def is_sampled(traceparent: str) -> bool:
    """Whether the trace is one that somebody collects."""
    return traceparent[-1] in "13579bdf"


def trace_id(traceparent: str) -> str:
    return traceparent[3:35]


def span_id(traceparent: str) -> str:
    return traceparent[36:52]


def unsampled() -> str:
    """The traceparent of a new trace that nobody collects: it names what belongs together in the logs."""
    return f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-00"
