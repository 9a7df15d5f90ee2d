"""Who makes the spans of a service.

The variables are those of OpenTelemetry: OTEL_TRACES_EXPORTER (otlp, zipkin or none, which is the
default), OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_ZIPKIN_ENDPOINT, OTEL_TRACES_SAMPLER,
OTEL_TRACES_SAMPLER_ARG, OTEL_SERVICE_NAME and OTEL_SDK_DISABLED. Without an exporter nothing of it is imported,
and for a trace that is not sampled nothing of it runs.
"""

import os
import threading
import time

from services.chassis.traces import Tracer

CLOSE_SECONDS = 1.0
"""How long the end of a process may take to send what is left."""

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
