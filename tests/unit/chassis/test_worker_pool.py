"""The worker pool: a few calls at a time, the first error ends them, nothing is left behind."""

import asyncio
import gc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.worker_pool import in_parallel
from tests.virtual_time import run


class Calls:
    """Calls that take a time of their own, or fail after it."""

    def __init__(self, failing: frozenset[int] = frozenset()) -> None:
        self.running = self.most = 0
        self.began: list[int] = []
        self._failing = failing

    async def __call__(self, call: tuple[int, float]) -> int:
        number, seconds = call
        self.began.append(number)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(seconds)
            if number in self._failing:
                raise ValueError(number)
        finally:
            self.running -= 1
        return number


times = st.lists(st.integers(0, 20).map(lambda tenths: tenths / 10), max_size=30)


@given(times, st.integers(1, 8))
def test_every_call_is_made_once_and_never_more_than_the_limit_at_a_time(seconds: list[float], limit: int) -> None:
    calls = Calls()

    results = run(in_parallel(limit, calls, list(enumerate(seconds))))

    assert results == calls.began == list(range(len(seconds)))
    assert calls.most == min(limit, len(seconds))


@given(times.filter(bool), st.integers(1, 8), st.data())
def test_the_first_error_is_raised_and_after_it_nothing_begins_or_runs(
    seconds: list[float], limit: int, data: st.DataObject
) -> None:
    numbers = st.sampled_from(range(len(seconds)))
    calls = Calls(data.draw(st.frozensets(numbers, min_size=1)))

    async def main() -> tuple[BaseException, float]:
        with pytest.raises(ValueError, match=r"^\d+$") as raised:
            await in_parallel(limit, calls, list(enumerate(seconds)))
        assert calls.running == 0
        return raised.value, asyncio.get_running_loop().time()

    error, ended_at = run(main())

    first_failure = min(_ends(seconds, limit)[number] for number in calls._failing)
    assert ended_at == pytest.approx(first_failure)
    assert _ends(seconds, limit)[error.args[0]] == pytest.approx(first_failure)


def _ends(seconds: list[float], limit: int) -> list[float]:
    """When each call would end if none failed."""
    free = [0.0] * limit
    ends = []
    for each in seconds:
        worker = min(range(limit), key=lambda index: free[index])
        free[worker] += each
        ends.append(free[worker])
    return ends


@given(times.filter(bool), st.integers(1, 8), st.integers(0, 30), st.integers(1, 3))
def test_when_its_caller_is_gone_nothing_goes_on(seconds: list[float], limit: int, after: int, times: int) -> None:
    calls = Calls()

    async def main() -> None:
        task = asyncio.create_task(in_parallel(limit, calls, list(enumerate(seconds))))
        await asyncio.sleep(after / 10 + 0.05)
        for _ in range(times):
            task.cancel()
        await asyncio.wait([task])
        assert calls.running == 0
        assert task.cancelled() or task.result() == list(range(len(seconds)))

    run(main())


def test_a_call_that_takes_long_to_be_cancelled_is_waited_for_even_by_a_cancelled_caller() -> None:
    ended = []

    async def stubborn(_number: int) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(1)
            ended.append(True)

    async def main() -> None:
        task = asyncio.create_task(in_parallel(2, stubborn, [1, 2, 3]))
        for _ in range(3):
            await asyncio.sleep(0.1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True, True]

    run(main())


def test_seventeen_calls_of_a_tenth_of_a_second_five_at_a_time_take_four_tenths() -> None:
    async def main() -> float:
        await in_parallel(5, Calls(), [(number, 0.1) for number in range(17)])
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(0.4)


async def test_of_the_errors_of_cancelled_calls_nobody_complains() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))

    async def fail(number: int) -> None:
        try:
            await asyncio.sleep(10 * number)
        finally:
            raise ValueError(number)

    with suppress(ValueError):
        await in_parallel(5, fail, list(range(5)))
    gc.collect()

    assert complaints == []
