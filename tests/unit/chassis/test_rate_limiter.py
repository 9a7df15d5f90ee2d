"""The rate limiter: never more starts than the rate, in the order of arrival, and nobody is refused."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.rate_limiter import JOURNEY_SECONDS, RateLimiter
from tests.virtual_time import run

SOON = 1e-6
"""Apart enough to be before somebody else."""

arrivals = st.lists(st.integers(0, 40), min_size=1, max_size=60).map(
    lambda tenths: [at / 10 + number * SOON for number, at in enumerate(sorted(tenths))]
)
rates = st.sampled_from([(10, 10), (10, 1), (10, 5), (1, 1), (3, 3), (100, 20)])
Starts = list[tuple[int, float]]


async def started(limiter: RateLimiter, arriving: list[float], patience: dict[int, float] | None = None) -> Starts:
    """Which calls have started, in their order, and when; some give up after a while."""
    loop = asyncio.get_running_loop()
    starts: Starts = []

    async def call(number: int, arrives_at: float) -> None:
        await asyncio.sleep(arrives_at)
        try:
            async with asyncio.timeout((patience or {}).get(number)):
                await limiter.turn()
        except TimeoutError:
            return
        starts.append((number, loop.time()))

    await asyncio.gather(*(call(number, at) for number, at in enumerate(arriving)))
    return starts


def most_in_a_window(starts: Starts, seconds: float) -> int:
    times = [at for _, at in starts]
    return max(sum(begin <= at < begin + seconds for at in times) for begin in times)


@given(arrivals, rates)
def test_no_window_has_more_starts_than_the_rate_and_they_are_in_the_order_of_arrival(
    arriving: list[float], rate: tuple[int, int]
) -> None:
    per_second, burst = rate

    starts = run(started(RateLimiter(per_second, burst), arriving))

    assert [number for number, _ in starts] == list(range(len(arriving)))
    assert most_in_a_window(starts, burst / per_second) <= burst
    assert most_in_a_window(starts, 1) <= per_second


@given(arrivals, rates)
def test_nobody_waits_while_there_is_a_turn(arriving: list[float], rate: tuple[int, int]) -> None:
    per_second, burst = rate
    window = burst / per_second + JOURNEY_SECONDS

    starts = [at for _, at in run(started(RateLimiter(per_second, burst), arriving))]

    for number, (arrived, at) in enumerate(zip(arriving, starts, strict=True)):
        turn = starts[number - burst] + window if number >= burst else 0
        assert at == pytest.approx(max(arrived, turn, starts[number - 1] if number else 0))


@given(arrivals, rates, st.data())
def test_who_gives_up_costs_the_others_no_turn(
    arriving: list[float], rate: tuple[int, int], data: st.DataObject
) -> None:
    impatient = data.draw(st.sets(st.sampled_from(range(len(arriving)))))
    patient = [at for number, at in enumerate(arriving) if number not in impatient]

    starts = run(started(RateLimiter(*rate), arriving, dict.fromkeys(impatient, 0.01)))

    gave_up = impatient - {number for number, _ in starts}
    without = [at for number, at in enumerate(arriving) if number not in gave_up]
    assert [at for _, at in starts] == pytest.approx([at for _, at in run(started(RateLimiter(*rate), without))])
    assert len(starts) >= len(patient)


def test_seventy_calls_at_once_take_seven_windows() -> None:
    starts = run(started(RateLimiter(10, 10), [number * SOON for number in range(70)]))

    assert [at for _, at in starts][-1] == pytest.approx(6 * (1 + JOURNEY_SECONDS), abs=1e-3)
    assert all(later >= earlier for earlier, later in pairwise(at for _, at in starts))
