"""What happens around every call: recover, deadline, overload, access, rules, log line.

A method is wrapped once, when it is registered. It is one function and not a
chain of interceptors, each of which would cost about 50 µs a call.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias, cast

import grpc
from google.protobuf.message import Message

from services.chassis import status
from services.chassis.access import Access, token_of
from services.chassis.call import Call, current_call
from services.chassis.contract import Rpc
from services.chassis.errors import AppError, DeadlineExceededError, InternalError, OverloadedError
from services.chassis.log import Logger
from services.chassis.metrics import RPC_SERVER_ACTIVE, RPC_SERVER_DURATION, Durations
from services.chassis.rules import check_rules
from services.chassis.traces import TRACEPARENT, Tracer, is_sampled, rpc_attributes, unsampled

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Method: TypeAlias = "Callable[[Any, Context], Awaitable[Message]]"

REQUEST_ID_LENGTH = 128
FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""The codes that are the fault of a server, and not of its caller."""
RETRY_SECONDS = 0.5
"""When a call that was one too many may come again."""

# The ids of calls whose callers gave none: unique, as the first part is another one in every process.
_PROCESS = f"{random.getrandbits(48):012x}"
_numbers = itertools.count(1)


class Running:
    """Counts the calls that run, so that a stopping server can wait for their ends."""

    def __init__(self) -> None:
        self.count = 0
        self._idle = asyncio.Event()

    def end(self) -> None:
        """One call has ended."""
        self.count -= 1
        if self.count == 0:
            self._idle.set()

    async def idle(self) -> None:
        """Waits until no call runs."""
        while self.count > 0:
            self._idle.clear()
            await self._idle.wait()


class _Room:
    """Counts the calls of one RPC."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._calls = 0
        self._active = RPC_SERVER_ACTIVE.labels(*rpc.name.split("/"))

    def enter(self) -> None:
        """One call more. Raises OverloadedError when it is one too many; it leaves all the same."""
        self._calls += 1
        self._active.inc()
        if self._calls > self._rpc.max_concurrent:
            raise OverloadedError(f"as many calls of {self._rpc.name} run as may", RETRY_SECONDS)

    def leave(self) -> None:
        self._calls -= 1
        self._active.dec()


class Observer:
    """Tells of the calls of one RPC what happened: in metrics, in the log and, of those that are sampled, in spans.

    `log_calls` is the part of the successful calls that get a log line.
    """

    def __init__(self, rpc: Rpc, log: Logger, tracer: Tracer | None, log_calls: float) -> None:
        self.log = log.bind(rpc=rpc.name)
        self._name = rpc.name
        self._tracer = tracer
        self._log_calls = log_calls
        self._durations = Durations(RPC_SERVER_DURATION, *rpc.name.split("/"))
        self._attributes = rpc_attributes(rpc.path)

    def begins(self, call: Call) -> None:
        """Gives the call a trace, if it came without, and a span, if that is sampled."""
        if self._tracer is not None and (call.traceparent is None or is_sampled(call.traceparent)):
            call.span = self._tracer.span(self._name, "server", self._attributes, call.traceparent)
        if call.span is not None:
            call.traceparent = call.span.traceparent
        elif call.traceparent is None:
            call.traceparent = unsampled()

    def ended(self, call: Call, code: str, seconds: float, error: AppError | None = None) -> None:
        self._durations.observe(code, seconds)
        if call.span is not None:
            call.span.end(status.CODE_ATTRIBUTES[code], failed=code in FAULTS)
        if code != "OK" or self._log_calls == 1 or random.random() < self._log_calls:
            told = {"reason": error.reason, "error": error.message} if error else {}
            self.log.info("call", code=code, duration_ms=round(seconds * 1000, 3), **told)


def wrapped(rpc: Rpc, method: Method, access: Access, running: Running, observer: Observer) -> Method:
    """The method as the server calls it."""
    room = _Room(rpc)

    async def served(request: Message, context: Context) -> Message:
        started = time.perf_counter()
        call = _incoming(rpc, context)
        observer.begins(call)
        current_call.set(call)  # for the rest of this call: each one is a task of its own
        running.count += 1
        code, error = "OK", None
        try:
            room.enter()
            call.caller = access.check(rpc, call.token, request)
            check_rules(request)
            if not call.deadline_is_ours:
                return await method(request, context)
            async with asyncio.timeout_at(call.deadline):
                return await method(request, context)
        except BaseException as raised:
            error = _failure(rpc, raised, call, observer.log)
            if error is None:
                code = _code_of_cancelled(call)
                raise
            code = status.GRPC_CODES[error.code].name
            return await _abort(context, error)
        finally:
            room.leave()
            running.end()
            observer.ended(call, code, time.perf_counter() - started, error)

    return served


def _failure(rpc: Rpc, raised: BaseException, call: Call, log: Logger) -> AppError | None:
    """What the caller is told of an exception; None when nobody listens any more."""
    if isinstance(raised, asyncio.CancelledError):
        # A cancelled call ends; a stray CancelledError would leave its caller waiting (grpc/grpc issue 29248).
        if cast("asyncio.Task[Any]", asyncio.current_task()).cancelling():
            return None
        return _unforeseen(raised, log)
    if not isinstance(raised, Exception):
        return None
    return _foreseen(rpc, raised, call) or _unforeseen(raised, log)


def _code_of_cancelled(call: Call) -> str:
    late = asyncio.get_running_loop().time() >= call.deadline
    return "DEADLINE_EXCEEDED" if late else "CANCELLED"


async def _abort(context: Context, error: AppError) -> NoReturn:
    details = status.of_error(error).SerializeToString()
    await context.abort(status.GRPC_CODES[error.code], error.message, ((status.DETAILS_KEY, details),))


def _foreseen(rpc: Rpc, error: Exception, call: Call) -> AppError | None:
    """The error as the contract knows it, or None if it does not."""
    if isinstance(error, AppError) and not isinstance(error, InternalError) and rpc.allows(error.code, error.reason):
        return error
    if isinstance(error, TimeoutError) and asyncio.get_running_loop().time() >= call.deadline:
        return DeadlineExceededError("the deadline of the call has passed")
    return None


def _unforeseen(error: BaseException, log: Logger) -> InternalError:
    """Logs what happened, and gives what the caller may know of it. A fault of a service behind keeps its id."""
    fault = error if isinstance(error, InternalError) else InternalError("internal error")
    fault.facts.setdefault("error_id", f"{random.getrandbits(64):016x}")
    log.error("unforeseen error", error_id=fault.facts["error_id"], exc_info=error)
    return fault


def _incoming(rpc: Rpc, context: Context) -> Call:
    request_id = ""
    authorizations = []
    traceparent = None
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            authorizations.append(str(value))
        elif key == "x-request-id":
            request_id = str(value)[:REQUEST_ID_LENGTH]
        elif key == "traceparent" and TRACEPARENT.fullmatch(str(value)):
            traceparent = str(value)
    remaining = cast("float | None", context.time_remaining())
    seconds = rpc.default_deadline if remaining is None else min(remaining, rpc.max_deadline)
    return Call(
        token_of(authorizations),
        request_id or f"{_PROCESS}-{next(_numbers)}",
        asyncio.get_running_loop().time() + seconds,
        seconds != remaining,
        traceparent,
        rpc=rpc.name,
    )
