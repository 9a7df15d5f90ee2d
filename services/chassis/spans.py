"""Spans by OpenTelemetry: imported only where somebody collects them."""

import logging
import os
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import Tracer as SdkTracer
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
FAILED = Status(StatusCode.ERROR)
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
NOBODY = Context()


class RecordedSpan:
    """A span that is recorded."""

    def __init__(self, tracer: SdkTracer, span: SdkSpan) -> None:
        self._tracer, self._span = tracer, span
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"

    def child(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        context = set_span_in_context(self._span, NOBODY)
        span = self._tracer.start_span(name, context, KINDS[kind], attributes)
        return RecordedSpan(self._tracer, span)

    def end(self, attributes: Attributes | None = None, *, failed: bool = False) -> None:
        if attributes:
            self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(FAILED)
        self._span.end()


class RecordingTracer:
    """Makes the spans of a service and gives them to an exporter."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("services.chassis")

    def span(self, name: str, kind: Kind, attributes: Attributes, traceparent: str | None) -> Span | None:
        context = _remote(traceparent) if traceparent else NOBODY
        span = self._tracer.start_span(name, context, KINDS[kind], attributes)
        return RecordedSpan(self._tracer, span) if span.is_recording() else None

    def close(self) -> None:
        self._provider.shutdown()


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
    provider = provider_of(service)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return RecordingTracer(provider)


def provider_of(service: str) -> TracerProvider:
    """Spans that name this service as their own, sampled as the variables say."""
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    return TracerProvider(resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False)


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


def _remote(traceparent: str) -> Context:
    """The context of a span elsewhere, which is sampled."""
    ids = int(trace_id(traceparent), 16), int(span_id(traceparent), 16)
    return set_span_in_context(NonRecordingSpan(SpanContext(*ids, is_remote=True, trace_flags=SAMPLED)), NOBODY)
