"""Structured logs on standard output: one JSON object a line, or a readable line."""

import logging
import sys
from datetime import UTC, datetime
from typing import Literal, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from services.chassis.call import current_call

Logger = FilteringBoundLogger
Format = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error"]


def get_logger(service: str) -> Logger:
    """The logger of a service. Say what happened in a few fixed words and the facts as fields."""
    return cast("Logger", structlog.get_logger(service=service))


def add_call_and_time(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Says when the line was written, and names the call on whose behalf."""
    call = current_call.get()
    if call is not None:
        event.setdefault("request_id", call.request_id)
    event["timestamp"] = datetime.now(UTC)
    return event


def configure_logging(level: Level, format_: Format) -> None:
    """Sets up the logs of this process, those of libraries included."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [structlog.processors.add_log_level, add_call_and_time]
    renderers = _json() if format_ == "json" else _console()
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers, _to_text],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def _json() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=orjson.dumps, option=orjson.OPT_UTC_Z, default=str),
    ]


def _console() -> list[Processor]:
    render = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(),
        sort_keys=False,
        pad_event_to=0,
        exception_formatter=structlog.dev.plain_traceback,
    )

    def to_bytes(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        event["timestamp"] = event["timestamp"].isoformat(sep=" ", timespec="milliseconds")[
            : len("2026-01-02 03:04:05.678")
        ]
        return render(logger, method, event).encode()

    return [to_bytes]


def _to_text(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    """What the logging module of the standard library writes."""
    return cast("bytes", line).decode()
