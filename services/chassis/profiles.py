"""Where a process spends its time and its memory, and what its tasks wait for: over HTTP, for operators.

A look at the heap costs the process up to half of its speed for as long as it is taken, a profile a few percent. One
of them is taken at a time.
"""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

SECONDS = (0.1, 60.0)
DEFAULT_SECONDS = 5.0
FORMATS = {"flamegraph": "image/svg+xml", "speedscope": "application/json"}
RATE = "100"
"""How many times a second a profile looks at the stacks."""
END_SECONDS = 3
"""How long it may take to write down what it has seen."""
PROGRAM = Path(sys.executable).with_name("py-spy")
PR_SET_PTRACER, PR_SET_PTRACER_ANY, NOBODY = 0x59616D61, 2**64 - 1, 0
LINES = 50

Pause = Callable[[], Awaitable[None]]
Take = Callable[[Request, Pause], Awaitable[Response]]


class _RefusedError(Exception):
    """The request breaks a rule, which is the message."""


def profile_routes(stop: asyncio.Event) -> list[Route]:
    """CPU, heap and tasks of this process. What is being taken ends when `stop` is set."""
    return [
        Route("/debug/profile", _one_at_a_time(_profile, stop)),
        Route("/debug/heap", _one_at_a_time(_heap, stop)),
        Route("/debug/tasks", _tasks),
    ]


_taken = asyncio.Lock()


def _one_at_a_time(take: Take, stop: asyncio.Event) -> Callable[[Request], Awaitable[Response]]:
    async def taken(request: Request) -> Response:
        if _taken.locked():
            return PlainTextResponse("somebody else takes a profile: try again later\n", 409)
        async with _taken:
            try:
                return await take(request, partial(_pause, _seconds(request), stop))
            except _RefusedError as error:
                return PlainTextResponse(f"{error}\n", 400)

    return taken


async def _pause(seconds: float, stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _seconds(request: Request) -> float:
    shortest, longest = SECONDS
    try:
        seconds = float(request.query_params.get("seconds", DEFAULT_SECONDS))
    except ValueError:
        seconds = 0
    if not shortest <= seconds <= longest:
        raise _RefusedError(f"seconds: must be a number between {shortest:g} and {longest:g}")
    return seconds


async def _profile(request: Request, pause: Pause) -> Response:
    """The CPU time of the process, by call stack, as py-spy sees it from outside: what the loop and gRPC do, too."""
    form = request.query_params.get("format", "flamegraph")
    if form not in FORMATS:
        raise _RefusedError(f"format: must be one of {', '.join(FORMATS)}")
    _let_look(PR_SET_PTRACER_ANY)
    with TemporaryDirectory() as folder:
        file = Path(folder, "profile")
        options = ("--rate", RATE, "--format", form, "--output", file, "--pid", f"{os.getpid()}")
        spy = await asyncio.create_subprocess_exec(
            PROGRAM, "record", *options, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
        )
        try:
            await pause()
        finally:
            with suppress(ProcessLookupError):
                spy.send_signal(signal.SIGINT)
            said = await _ended(spy)
            _let_look(NOBODY)
        if b"ermission" in said:
            return PlainTextResponse("py-spy may not look at this process: it needs the right to trace it\n", 503)
        content = await asyncio.to_thread(_content, file)
        return Response(content, media_type=FORMATS[form])


async def _ended(spy: asyncio.subprocess.Process) -> bytes:
    """What it says at its end. A signal that comes too early for it may be lost, and then it is killed."""
    ending = asyncio.ensure_future(spy.communicate())
    await asyncio.wait([ending], timeout=END_SECONDS)
    if not ending.done():
        spy.kill()
    _, said = await ending
    return said


def _content(file: Path) -> bytes:
    """Empty if nothing has run."""
    return file.read_bytes() if file.exists() else b""


def _let_look(who: int) -> None:
    """Says who may look at this process, where only parents may (Yama)."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(who), 0, 0, 0)


async def _heap(_request: Request, pause: Pause) -> Response:
    """The lines of code whose memory grows most."""
    import tracemalloc  # noqa: PLC0415  it is needed only when somebody asks

    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot()
        await pause()
        after = tracemalloc.take_snapshot()
    finally:
        if not was_tracing:
            tracemalloc.stop()
    grown = await asyncio.to_thread(after.compare_to, before, "lineno")
    lines = [
        f"{each.size_diff:+12,} bytes {each.count_diff:+9,} objects  {each.traceback}"
        for each in sorted(grown, key=lambda each: -each.size_diff)[:LINES]
    ]
    return PlainTextResponse("\n".join([*lines, ""]))


async def _tasks(_request: Request) -> Response:
    """What each task is, and the stack in which it waits."""
    tasks = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    return PlainTextResponse("".join(_shown(task) for task in tasks))


def _shown(task: "asyncio.Task[Any]") -> str:
    coroutine: Any = task.get_coro()
    frames = "".join(f"  {place}\n" for place in _places(coroutine))
    return f"{task.get_name()} {getattr(coroutine, '__qualname__', type(coroutine).__name__)}\n{frames}\n"


def _places(waiting: Any) -> list[str]:
    """The lines in which a coroutine waits, the innermost last."""
    places = []
    while waiting is not None:
        frame, waiting = _frame_and_next(waiting)
        if frame is not None:
            places.append(_place(frame.f_code, frame.f_lineno))
    return places


def _frame_and_next(waiting: Any) -> tuple[FrameType | None, Any]:
    for kind in ("cr", "gi", "ag"):
        if hasattr(waiting, f"{kind}_frame"):
            further = getattr(waiting, f"{kind}_await", None) or getattr(waiting, f"{kind}_yieldfrom", None)
            return getattr(waiting, f"{kind}_frame"), further
    return None, None


def _place(code: CodeType, line: int) -> str:
    return f"{code.co_qualname}  {code.co_filename}:{line}"
