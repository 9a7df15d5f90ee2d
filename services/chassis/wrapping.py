"""What happens around every call: recover, deadline, access, rules, log line.

A method is wrapped once, when it is registered. It is one function and not a
chain of interceptors, each of which would cost about 50 µs a call.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import Message

from services.chassis import status
from services.chassis.access import Access, bearer_token
from services.chassis.call import Call, current_call
from services.chassis.contract import Rpc
from services.chassis.errors import AppError, DeadlineExceededError, InternalError
from services.chassis.log import Logger
from services.chassis.rules import check_rules

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Method: TypeAlias = "Callable[[Any, Context], Awaitable[Message]]"

REQUEST_ID_LENGTH = 128


def wrapped(rpc: Rpc, method: Method, access: Access, log: Logger, running: set[asyncio.Task[Any]]) -> Method:
    """The method as the server calls it. `running` holds the tasks of its calls while they run."""
    log = log.bind(rpc=rpc.name)
    answer = _answering(rpc, method, access, log)

    async def served(request: Message, context: Context) -> Message:
        started = time.perf_counter()
        call = _incoming(rpc, context)
        current_call.set(call)  # for the rest of this call: each one is a task of its own
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        running.add(task)
        code = grpc.StatusCode.CANCELLED
        try:
            outcome = await answer(request, context, call)
            code = status.GRPC_CODES[outcome.code] if isinstance(outcome, AppError) else grpc.StatusCode.OK
        except asyncio.CancelledError:
            if asyncio.get_running_loop().time() >= call.deadline:
                code = grpc.StatusCode.DEADLINE_EXCEEDED
            raise
        finally:
            running.discard(task)
            log.info("call", code=code.name, duration_ms=round((time.perf_counter() - started) * 1000, 3))
        if isinstance(outcome, AppError):
            details = status.of_error(outcome).SerializeToString()
            await context.abort(code, outcome.message, ((status.DETAILS_KEY, details),))
        return outcome

    return served


def _answering(
    rpc: Rpc, method: Method, access: Access, log: Logger
) -> "Callable[[Message, Context, Call], Awaitable[Message | AppError]]":
    """What a call comes to, whatever happens in the method."""

    async def answer(request: Message, context: Context, call: Call) -> Message | AppError:
        try:
            access.check(rpc, call.token)
            check_rules(request)
            if call.deadline_is_ours:
                async with asyncio.timeout_at(call.deadline):
                    return await method(request, context)
            return await method(request, context)
        except asyncio.CancelledError as error:
            # A cancelled call ends; a stray CancelledError would leave its caller waiting (grpc/grpc issue 29248).
            if cast("asyncio.Task[Any]", asyncio.current_task()).cancelling():
                raise
            return _unforeseen(error, log)
        except Exception as error:  # noqa: BLE001  this is the place where all of them end
            return _foreseen(rpc, error, call) or _unforeseen(error, log)

    return answer


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
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            authorization = str(value)
        elif key == "x-request-id":
            request_id = str(value)[:REQUEST_ID_LENGTH]
    remaining = cast("float | None", context.time_remaining())
    seconds = rpc.default_deadline if remaining is None else min(remaining, rpc.max_deadline)
    return Call(
        bearer_token(authorization) if authorization else None,
        request_id or f"{random.getrandbits(64):016x}",
        asyncio.get_running_loop().time() + seconds,
        seconds != remaining,
    )
