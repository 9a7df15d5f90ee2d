"""Runs a list of calls, a few at a time.

    products = await in_parallel(5, client.product, skus)

Workers, which are tasks, take arguments from one iterator until it is empty. That each
argument is taken once needs no lock: `for` takes the next one without an await, and
tasks of one event loop give way to each other only at an await.

What each guarantee relies on:

- at most `limit` calls at once: there are so many workers, and each waits for its call;
- the first error is the one raised, and no call begins after it: a worker that fails notes
  it before any other one runs, and each looks there before it begins;
- nothing outlives the call: it returns and raises only behind `_ended`, which waits for
  every worker, also while it is cancelled again and again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

A = TypeVar("A")
R = TypeVar("R")


async def in_parallel(limit: int, work: Callable[[A], Awaitable[R]], arguments: Sequence[A]) -> list[R]:
    """The results of the work on each argument, in their order; at most `limit` of them are worked on at once.

    The first error ends the others and is raised when they have ended.
    """
    left = iter(enumerate(arguments))
    results: dict[int, R] = {}
    failed: list[BaseException] = []

    async def worker() -> None:
        try:
            for index, argument in left:
                if failed:
                    return
                results[index] = await work(argument)
        except BaseException as error:
            failed.append(error)
            raise

    workers = [asyncio.create_task(worker()) for _ in range(min(limit, len(arguments)))]
    try:
        if workers:
            await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await _ended(workers)
    if failed:
        raise failed[0]
    return [results[index] for index in range(len(arguments))]


async def _ended(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Cancels the tasks and waits until all have ended, even if who waits is cancelled meanwhile."""
    for task in tasks:
        task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while running := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # it was seen: asyncio has nothing to complain of
    if cancelled is not None:
        raise cancelled
