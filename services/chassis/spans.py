"""Spans by OpenTelemetry: imported only where somebody collects them."""

import logging
import os
import time
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation import set_span_in_context

from services.chassis.log import Logger, get_logger
from services.chassis.settings import StartError
from services.chassis.traces import Attributes, Kind, Span, Tracer, span_id, trace_id

COMPLAIN_SECONDS = 60
SAMPLERS = ("always_on", "always_off", "traceidratio")
KINDS = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
FINE, FAILED = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
NOBODY = Context()
SCOPE = InstrumentationScope("services.chassis", "")  # Zipkin refuses spans without a version


class Place(NamedTuple):
    """Where in its trace a span is."""

    own: SpanContext
    above: SpanContext | None
    """None if the trace begins with it."""


class RecordedSpan:
    """A span that is recorded. It becomes one of the SDK when it ends: one that is of the SDK from the beginning, with
    its lock, its limits and its checks of what attributes may be, makes a sampled call cost half as much again.
    """

    def __init__(self, tracer: "RecordingTracer", place: Place, name: str, kind: Kind, attributes: Attributes) -> None:
        self._tracer, self._place, self._name, self._kind, self._attributes = tracer, place, name, kind, attributes
        self._began = time.time_ns()
        self.traceparent = f"00-{place.own.trace_id:032x}-{place.own.span_id:016x}-01"

    def child(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        return RecordedSpan(self._tracer, self._tracer.place(self._place.own), name, kind, attributes)

    def end(self, attributes: Attributes | None = None, *, failed: bool = False) -> None:
        ended = ReadableSpan(
            self._name,
            self._place.own,
            self._place.above,
            self._tracer.resource,
            {**self._attributes, **attributes} if attributes else self._attributes,
            kind=KINDS[self._kind],
            status=FAILED if failed else FINE,
            start_time=self._began,
            end_time=time.time_ns(),
            instrumentation_scope=SCOPE,
        )
        self._tracer.processor.on_end(ended)


class RecordingTracer:
    """Makes the spans of a service, sampled as the variables say, and gives them to a processor."""

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME") or service
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False)
        self._sampler, self._ids = provider.sampler, provider.id_generator
        self.resource = provider.resource
        self.processor = processor

    def span(self, name: str, kind: Kind, attributes: Attributes, traceparent: str | None) -> Span | None:
        place = self.place(_remote(traceparent) if traceparent else None)
        within = set_span_in_context(NonRecordingSpan(place.above), NOBODY) if place.above else NOBODY
        decision = self._sampler.should_sample(within, place.own.trace_id, name).decision
        return RecordedSpan(self, place, name, kind, attributes) if decision is Decision.RECORD_AND_SAMPLE else None

    def place(self, above: SpanContext | None) -> Place:
        """A new place below another one, or at the beginning of a trace."""
        trace = above.trace_id if above else self._ids.generate_trace_id()
        own = SpanContext(trace, self._ids.generate_span_id(), is_remote=False, trace_flags=SAMPLED)
        return Place(own, above)

    def close(self) -> None:
        self.processor.shutdown()


class Complaining(SpanExporter):
    """An exporter that says at most once a minute that it does not get rid of its spans."""

    def __init__(self, exporter: SpanExporter, log: Logger) -> None:
        self._exporter, self._log = exporter, log
        self._quiet_until = 0.0
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        error = "refused"
        try:
            if self._exporter.export(spans) is SpanExportResult.SUCCESS:
                return SpanExportResult.SUCCESS
        except Exception as raised:  # noqa: BLE001  whatever it is, the spans are lost and nothing else
            error = type(raised).__name__
        self._complain(error, len(spans))
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def _complain(self, error: str, lost: int) -> None:
        self._lost += lost
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + COMPLAIN_SECONDS
            self._log.warning("spans are lost", error=error, spans=self._lost)
            self._lost = 0


def tracer(service: str) -> Tracer:
    """The tracer that the variables ask for. Raises StartError when they are of no use."""
    _check_sampler()
    exporter = Complaining(_exporter(), get_logger(service))
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what it says of lost spans we say once a minute
    return RecordingTracer(service, BatchSpanProcessor(exporter))


def _exporter() -> SpanExporter:
    kind = os.environ.get("OTEL_TRACES_EXPORTER")
    if kind == "otlp":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415  each takes 0.1 s, one is needed
            OTLPSpanExporter,
        )

        return OTLPSpanExporter()
    if kind == "zipkin":
        _check_url("OTEL_EXPORTER_ZIPKIN_ENDPOINT")
        from opentelemetry.exporter.zipkin.json import ZipkinExporter  # noqa: PLC0415  each takes 0.1 s, one is needed

        return ZipkinExporter()
    raise StartError(f"OTEL_TRACES_EXPORTER={kind!r}: it must be otlp, zipkin or none")


def _check_url(variable: str) -> None:
    url = os.environ.get(variable, "http://localhost")
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise StartError(f"{variable} is no URL")


def _check_sampler() -> None:
    name = os.environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    if name.removeprefix("parentbased_") not in SAMPLERS:
        raise StartError(
            f"OTEL_TRACES_SAMPLER={name!r}: it must be one of {', '.join(SAMPLERS)}, or parentbased_ and one"
        )
    ratio = os.environ.get("OTEL_TRACES_SAMPLER_ARG", "1")
    try:
        is_ratio = 0 <= float(ratio) <= 1
    except ValueError:
        is_ratio = False
    if name.endswith("traceidratio") and not is_ratio:
        raise StartError(f"OTEL_TRACES_SAMPLER_ARG={ratio!r}: it must be between 0 and 1")


def _remote(traceparent: str) -> SpanContext:
    """The ids of a span elsewhere, which is sampled."""
    return SpanContext(
        int(trace_id(traceparent), 16), int(span_id(traceparent), 16), is_remote=True, trace_flags=SAMPLED
    )
