"""What happens around every call: recover, deadline, overload, access, rules, log line.

A method is wrapped once, when it is registered. It is one function and not a
chain of interceptors, each of which would cost about 50 µs a call.
"""

import asyncio
import itertools
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias, cast

import grpc
from google.protobuf.message import Message

from services.chassis import status
from services.chassis.access import Access, bearer_token
from services.chassis.call import Call, current_call
from services.chassis.contract import Rpc
from services.chassis.errors import AppError, DeadlineExceededError, InternalError, OverloadedError
from services.chassis.log import Logger
from services.chassis.rules import check_rules

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Method: TypeAlias = "Callable[[Any, Context], Awaitable[Message]]"

TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
REQUEST_ID_LENGTH = 128
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

    def enter(self) -> None:
        """One call more. Raises OverloadedError when it is one too many; it leaves all the same."""
        self._calls += 1
        if self._calls > self._rpc.max_concurrent:
            raise OverloadedError(f"as many calls of {self._rpc.name} run as may", RETRY_SECONDS)

    def leave(self) -> None:
        self._calls -= 1


def wrapped(rpc: Rpc, method: Method, access: Access, log: Logger, running: Running) -> Method:
    """The method as the server calls it."""
    log = log.bind(rpc=rpc.name)
    room = _Room(rpc)

    async def served(request: Message, context: Context) -> Message:
        started = time.perf_counter()
        call = _incoming(rpc, context)
        current_call.set(call)  # for the rest of this call: each one is a task of its own
        running.count += 1
        code = "OK"
        try:
            room.enter()
            access.check(rpc, call.token)
            check_rules(request)
            if not call.deadline_is_ours:
                return await method(request, context)
            async with asyncio.timeout_at(call.deadline):
                return await method(request, context)
        except BaseException as raised:
            error = _failure(rpc, raised, call, log)
            if error is None:
                code = _code_of_cancelled(call)
                raise
            code = status.GRPC_CODES[error.code].name
            return await _abort(context, error)
        finally:
            room.leave()
            running.end()
            log.info("call", code=code, duration_ms=round((time.perf_counter() - started) * 1000, 3))

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
    if isinstance(error, AppError) and rpc.allows(error.code, error.reason):
        return error
    if isinstance(error, TimeoutError) and asyncio.get_running_loop().time() >= call.deadline:
        return DeadlineExceededError("the deadline of the call has passed")
    return None


def _unforeseen(error: BaseException, log: Logger) -> InternalError:
    """Logs what happened, and gives what the caller may know of it."""
    error_id = f"{random.getrandbits(64):016x}"
    log.error("unforeseen error", error_id=error_id, exc_info=error)
    return InternalError("internal error", error_id=error_id)


def _incoming(rpc: Rpc, context: Context) -> Call:
    authorization = request_id = ""
    traceparent = None
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            authorization = str(value)
        elif key == "x-request-id":
            request_id = str(value)[:REQUEST_ID_LENGTH]
        elif key == "traceparent" and TRACEPARENT.fullmatch(str(value)):
            traceparent = str(value)
    remaining = cast("float | None", context.time_remaining())
    seconds = rpc.default_deadline if remaining is None else min(remaining, rpc.max_deadline)
    return Call(
        bearer_token(authorization) if authorization else None,
        request_id or f"{_PROCESS}-{next(_numbers)}",
        asyncio.get_running_loop().time() + seconds,
        seconds != remaining,
        traceparent,
    )
