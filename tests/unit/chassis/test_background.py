"""Background loops: how they end, and what a failure does."""

import asyncio
from typing import NoReturn

import pytest

from services.chassis.background import background, every
from services.chassis.log import get_logger


class Endless:
    """A loop that tells when it begins and when it ends."""

    def __init__(self) -> None:
        self.started, self.ended = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


async def die() -> NoReturn:
    raise LookupError("the loop is dead")


async def test_a_loop_that_dies_ends_the_block_and_the_other_loops() -> None:
    other = Endless()

    with pytest.raises(LookupError, match="the loop is dead"):
        async with background(other, die):
            await asyncio.Event().wait()
    assert other.ended.is_set()


async def test_every_loop_is_cancelled_when_the_block_ends() -> None:
    loops = Endless(), Endless()
    async with background(*loops):
        for loop in loops:
            await loop.started.wait()
        assert not any(loop.ended.is_set() for loop in loops)

    assert all(loop.ended.is_set() for loop in loops)


async def test_what_the_block_raises_comes_out_as_it_is_and_ends_the_loops() -> None:
    loop = Endless()

    async def block() -> None:
        async with background(loop):
            await loop.started.wait()
            raise KeyError("block")

    with pytest.raises(KeyError, match="block"):
        await block()
    assert loop.ended.is_set()


async def test_a_loop_that_is_done_does_not_end_the_block() -> None:
    done = asyncio.Event()

    async def once() -> None:
        done.set()

    async with background(once):
        await done.wait()
        await asyncio.sleep(0)


async def test_an_action_is_done_again_after_a_failure_which_is_logged(logs: list[dict[str, object]]) -> None:
    calls, recovered = 0, asyncio.Event()

    async def action() -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ValueError(calls)
        recovered.set()

    async with background(every(0.001, action, get_logger("tested"))):
        await recovered.wait()

    assert [(line["event"], line["level"], line["exc_info"]) for line in logs] == [
        ("background action failed", "error", True)
    ] * 2
    assert all(str(line["action"]).endswith("action") for line in logs)


async def test_an_action_is_done_at_once_and_then_after_the_pause() -> None:
    calls: list[float] = []
    called = asyncio.Event()

    async def action() -> None:
        calls.append(asyncio.get_running_loop().time())
        called.set()

    async with background(every(3600, action, get_logger("tested"))):
        await called.wait()
    async with background(every(0.05, action, get_logger("tested"))):
        while len(calls) < 3:
            called.clear()
            await called.wait()

    assert calls[2] - calls[1] >= 0.049
