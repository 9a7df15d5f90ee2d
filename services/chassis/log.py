"""Structured logs on standard output: one JSON object a line, or a readable line."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from services.chassis.call import current_call

Format = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error"]

LEVELS: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Logger(structlog.BoundLoggerBase):
    """Says what happened in a few fixed words, with the facts as fields.

    It is structlog's logger without the frames between a call and the processors: a
    line is written for every RPC, and the frames were half of its cost.
    """

    level = LEVELS["info"]

    def debug(self, event: str, **facts: object) -> None:
        self._write("debug", event, facts)

    def info(self, event: str, **facts: object) -> None:
        self._write("info", event, facts)

    def warning(self, event: str, **facts: object) -> None:
        self._write("warning", event, facts)

    def error(self, event: str, **facts: object) -> None:
        self._write("error", event, facts)

    def exception(self, event: str, **facts: object) -> None:
        """An error with the traceback of the exception that is being handled."""
        self._write("error", event, {"exc_info": True, **facts})

    def _write(self, level: str, event: str, facts: dict[str, object]) -> None:
        if LEVELS[level] < Logger.level:
            return
        line: Any = {"event": event, **self._context, **facts}
        for processor in self._processors:
            line = processor(self._logger, level, line)
        self._logger.msg(line)


def get_logger(service: str) -> Logger:
    """The logger of a service."""
    return cast("Logger", structlog.get_logger(service=service))


def configure_logging(level: Level, format_: Format) -> None:
    """Sets up the logs of this process, those of libraries included."""
    Logger.level = LEVELS[level]
    render = _render_json if format_ == "json" else _console_renderer()
    structlog.configure(
        processors=[render],
        wrapper_class=Logger,
        logger_factory=structlog.BytesLoggerFactory(file=sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render, _to_text],
        )
    )
    logging.basicConfig(level=max(LEVELS[level], logging.WARNING), handlers=[handler], force=True)


def add_facts(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Adds what every line has: its level, its time, and the call on whose behalf it is written."""
    event["level"] = method
    event["timestamp"] = datetime.now(UTC)
    call = current_call.get()
    if call is not None:
        event["request_id"] = call.request_id
    return event


def _render_json(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
    add_facts(logger, method, event)
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, method, event)
    return orjson.dumps(event, str, orjson.OPT_UTC_Z)


def _console_renderer() -> Processor:
    render = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(),
        sort_keys=False,
        pad_event_to=0,
        exception_formatter=structlog.dev.plain_traceback,
    )

    def render_line(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        add_facts(logger, method, event)
        event["timestamp"] = event["timestamp"].strftime("%H:%M:%S.%f")[: len("12:34:56.789")]
        return render(logger, method, event).encode()

    return render_line


def _to_text(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    """What the logging module of the standard library writes."""
    return cast("bytes", line).decode()
