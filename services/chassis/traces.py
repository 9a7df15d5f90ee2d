"""Spans: what a call does, and for how long, for whoever collects traces."""

import random
import re
from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

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
