"""Structured logs on standard output: one JSON object a line, or a readable line."""

import logging
import sys
from typing import Literal, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from services.chassis.call import current_call

Logger = FilteringBoundLogger
Format = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error"]


def get_logger(service: str) -> Logger:
    """The logger of a service. Say what happened in a few fixed words and the facts as fields."""
    return cast("Logger", structlog.get_logger(service=service))


def add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Names the call on whose behalf the line is written."""
    call = current_call.get()
    if call is not None:
        event.setdefault("request_id", call.request_id)
    return event


def configure_logging(level: Level, format_: Format) -> None:
    """Sets up the logs of this process, those of libraries included."""
    number = logging.getLevelNamesMapping()[level.upper()]
    renderers: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if format_ == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                sort_keys=False,
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        add_request_id,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
