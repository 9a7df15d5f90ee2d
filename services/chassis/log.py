"""Structured logs on standard output: one JSON object a line, or a readable line."""

import asyncio
import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from services.chassis.call import current_call
from services.chassis.traces import is_sampled, span_id, trace_id

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
    handler.addFilter(_WithoutTexts())
    logging.basicConfig(level=max(LEVELS[level], logging.WARNING), handlers=[handler], force=True)


def trace_facts(traceparent: str | None) -> dict[str, str]:
    """The facts of a line that tell its trace, and its span where there is one."""
    if traceparent is None:
        return {}
    span = {"span_id": span_id(traceparent)} if is_sampled(traceparent) else {}
    return {"trace_id": trace_id(traceparent), **span}


def add_facts(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Adds what every line has: its level, its time, and the call on whose behalf it is written."""
    event["level"] = method
    event["timestamp"] = datetime.now(UTC)
    call = current_call.get()
    if call is not None:
        event.setdefault("rpc", call.rpc)
        event["request_id"] = call.request_id
        if call.traceparent is not None:
            event["trace_id"] = trace_id(call.traceparent)
        if call.span is not None:
            event["span_id"] = span_id(call.span.traceparent)
    return event


def _render_json(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
    add_facts(logger, method, event)
    _add_frames(event)
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
        _add_frames(event)
        event["timestamp"] = event["timestamp"].strftime("%H:%M:%S.%f")[: len("12:34:56.789")]
        return render(logger, method, event).encode()

    return render_line


def _add_frames(event: EventDict) -> None:
    """Puts what is told of an exception in the place of it."""
    given = event.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["exception"] = told(error)


def told(error: BaseException) -> str:
    """Where an exception comes from and of which types it and its causes are. Not their texts, which may hold
    secrets: the URL of a database, a token, the values of a row.
    """
    return "\n".join(_told(error, set()))


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and id(cause) not in seen:
        yield from _told(cause, seen)
        yield "and then:"
    yield "Traceback (most recent call last):"
    yield "".join(traceback.format_tb(error.__traceback__)).rstrip()
    yield f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    if isinstance(error, BaseExceptionGroup):
        for number, part in enumerate(error.exceptions, 1):
            yield f"its part {number}:"
            yield from _told(part, seen)


class _WithoutTexts(logging.Filter):
    """Has the lines of libraries name the types of exceptions instead of what these say."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                type(each).__name__ if isinstance(each, BaseException) else each for each in record.args
            )
        return True


def log_errors_of_loop(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Logs what asyncio tells of errors that nobody has caught. Its own words show the texts of exceptions."""
    get_logger("asyncio").error("error that nobody has caught", exc_info=context.get("exception"))


def _to_text(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    """What the logging module of the standard library writes."""
    return cast("bytes", line).decode()
