"""The cache: what it remembers and for how long, what it asks for, and that no entry is taken for another."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marketplace.product.v1.product_pb2 import GetProductResponse

from services.chassis.cache import REFRESHES_AT_ONCE, UNKNOWN_SECONDS, Cache, LocalStore
from services.chassis.call import Call, current_call
from services.chassis.contract import CacheTimes, rpc
from services.chassis.errors import AppError, DeadlineExceededError, UnavailableError
from tests.virtual_time import run

FRESH, STALE = 60, 600
GET_PRODUCT = replace(
    rpc("/marketplace.product.v1.ProductService/GetProduct"), cache=CacheTimes(time_to_live=FRESH, stale=STALE)
)
UNKNOWN_SKU = 404
Answer = GetProductResponse | None


class Catalogue:
    """Answers after a second, with a price that tells how often it was asked for the sku."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.running = self.most = 0
        self.fails: AppError | None = None

    async def ask(self, sku: int) -> Answer:
        self.asked.append(sku)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(1)
        finally:
            self.running -= 1
        if self.fails:
            raise self.fails
        if sku == UNKNOWN_SKU:
            return None
        return GetProductResponse(sku=sku, name=f"product {sku}", price=self.asked.count(sku))


Remembering = Cache[int, GetProductResponse]


@asynccontextmanager
async def remembering(catalogue: Catalogue, store: LocalStore | None = None) -> AsyncIterator[Remembering]:
    clock = asyncio.get_running_loop().time
    store = store or LocalStore(clock=clock)
    async with Cache(GET_PRODUCT, GetProductResponse, catalogue.ask, store, clock) as cache:
        yield cache


async def answer(cache: Remembering, sku: int = 1) -> Answer:
    """What a caller gets who looks first and asks then."""
    found = await cache.found([sku])
    return found[sku] if sku in found else await cache.loaded(sku)


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Runs the test on a loop whose clock jumps."""

    def timeless() -> None:
        run(test())

    timeless.__name__ = test.__name__
    return timeless


@in_virtual_time
async def test_an_answer_is_asked_for_once_and_then_remembered() -> None:
    catalogue = Catalogue()
    async with remembering(catalogue) as cache:
        assert await cache.found([1, 2]) == {}
        first = await cache.loaded(1)

        assert await cache.found([1, 2]) == {1: first}
        assert catalogue.asked == [1]
        assert (cache.hits, cache.misses, cache.stale, cache.errors) == (1, 3, 0, 0)


moves = st.lists(
    st.tuples(st.sampled_from([0.5, 5.0, 30.0, 57.375, 200.0, 657.375, 700.0]), st.sampled_from([1, 2, UNKNOWN_SKU])),
    max_size=30,
)


@given(moves)
def test_what_is_fresh_is_given_what_is_stale_too_but_asked_for_anew_and_nothing_later(
    moves: list[tuple[float, int]],
) -> None:
    async def main() -> None:
        catalogue, now = Catalogue(), asyncio.get_running_loop().time
        written: dict[int, tuple[float, int]] = {}
        async with remembering(catalogue) as cache:
            for seconds, sku in moves:
                await asyncio.sleep(seconds)
                await asyncio.sleep(1.5)  # the refresh of the one before is done
                begun_at, asked = now(), catalogue.asked.count(sku)
                given = await answer(cache, sku)
                waited = now() - begun_at
                await asyncio.sleep(0.125)  # a refresh has begun
                asked = catalogue.asked.count(sku) - asked
                written_at, price = written.get(sku, (-1000.0, 0))
                age, is_unknown = begun_at - written_at, sku == UNKNOWN_SKU
                fresh, stale = (UNKNOWN_SECONDS, 0) if is_unknown else (FRESH, STALE)
                if age >= fresh + stale:
                    assert (waited, asked) == (1, 1)
                    price += 1
                    written[sku] = begun_at + 1, price
                elif age >= fresh:
                    assert (waited, asked) == (0, 1)
                    written[sku] = begun_at + 1, price + 1
                else:
                    assert (waited, asked) == (0, 0)
                assert given == (
                    None if is_unknown else GetProductResponse(sku=sku, name=f"product {sku}", price=price)
                )

    run(main())


@in_virtual_time
async def test_who_asks_at_the_same_time_gets_the_same_answer() -> None:
    catalogue = Catalogue()
    async with remembering(catalogue) as cache:
        answers = await asyncio.gather(*(answer(cache) for _ in range(100)))

    assert {given.price for given in answers if given} == {1}
    assert catalogue.asked == [1]


@in_virtual_time
async def test_who_is_cancelled_takes_away_nobodys_answer() -> None:
    catalogue = Catalogue()
    async with remembering(catalogue) as cache:
        callers = [asyncio.create_task(answer(cache)) for _ in range(3)]
        await asyncio.sleep(0.5)
        callers[0].cancel()
        callers[2].cancel()

        given = await callers[1]
        assert given is not None
        assert given.price == 1
        assert catalogue.asked == [1]


@in_virtual_time
async def test_a_question_for_which_nobody_waits_any_more_ends_and_the_next_is_another_one() -> None:
    catalogue = Catalogue()
    async with remembering(catalogue) as cache:
        gone = asyncio.create_task(answer(cache))
        await asyncio.sleep(0.5)
        gone.cancel()
        await asyncio.wait([gone])
        given = await answer(cache)

        assert given is not None
        assert given.price == 2
        assert catalogue.most == 1
        assert asyncio.get_running_loop().time() == pytest.approx(1.5)


@pytest.mark.parametrize("turns", range(5))
def test_who_comes_while_a_question_ends_is_not_cancelled_with_it(turns: int) -> None:
    async def main() -> None:
        async with remembering(Catalogue()) as cache:
            gone = asyncio.create_task(answer(cache))
            await asyncio.sleep(0.5)
            gone.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
            assert await answer(cache) is not None

    run(main())


@in_virtual_time
async def test_an_error_is_given_to_all_who_wait_and_not_remembered() -> None:
    catalogue = Catalogue()
    catalogue.fails = UnavailableError("product cannot be reached")
    async with remembering(catalogue) as cache:
        results = await asyncio.gather(*(answer(cache) for _ in range(5)), return_exceptions=True)
        assert results == [catalogue.fails] * 5
        assert catalogue.asked == [1]

        catalogue.fails = None
        assert await answer(cache) is not None


@in_virtual_time
async def test_the_deadline_of_one_caller_is_not_that_of_another() -> None:
    catalogue = Catalogue()
    catalogue.fails = DeadlineExceededError("product did not answer in time")
    async with remembering(catalogue) as cache:
        impatient = asyncio.create_task(answer(cache))
        await asyncio.sleep(0.1)
        patient = asyncio.create_task(answer(cache))
        with pytest.raises(DeadlineExceededError):
            await impatient
        catalogue.fails = None

        assert await patient is not None
        assert catalogue.asked == [1, 1]


@in_virtual_time
async def test_a_stale_answer_is_given_when_its_refresh_fails() -> None:
    catalogue = Catalogue()
    async with remembering(catalogue) as cache:
        first = await answer(cache)
        catalogue.fails = UnavailableError("product cannot be reached")
        for minute in range(1, 4):
            await asyncio.sleep(FRESH)
            assert await answer(cache) == first
            await asyncio.sleep(2)
            assert (cache.stale, cache.errors, len(catalogue.asked)) == (minute, minute, minute + 1)


@in_virtual_time
async def test_a_stale_answer_is_asked_for_once_however_often_it_is_given() -> None:
    catalogue = Catalogue()
    async with remembering(catalogue) as cache:
        await answer(cache)
        await asyncio.sleep(FRESH)
        await asyncio.gather(*(answer(cache) for _ in range(10)))
        await asyncio.sleep(2)

        assert catalogue.asked == [1, 1]
        assert (cache.stale, cache.hits) == (10, 0)


@in_virtual_time
async def test_refreshes_are_few_at_a_time_and_on_nobodys_behalf() -> None:
    calls = []

    class Curious(Catalogue):
        async def ask(self, sku: int) -> Answer:
            calls.append(current_call.get())
            return await super().ask(sku)

    catalogue = Curious()
    skus = range(1000, 1000 + 4 * REFRESHES_AT_ONCE)
    async with remembering(catalogue) as cache:
        await asyncio.gather(*map(cache.loaded, skus))
        await asyncio.sleep(FRESH)
        calls.clear()
        catalogue.most = 0
        current_call.set(Call(token="mine", request_id="1", deadline=0, deadline_is_ours=False))
        assert len(await cache.found(skus)) == len(skus)
        await asyncio.sleep(10)

    assert calls == [None] * len(skus)
    assert catalogue.most == REFRESHES_AT_ONCE


@in_virtual_time
async def test_nothing_that_it_has_begun_outlives_it() -> None:
    catalogue = Catalogue()
    async with remembering(catalogue) as cache:
        await answer(cache, 1)
        await asyncio.sleep(FRESH)
        await answer(cache, 1)
        waiting = asyncio.create_task(cache.loaded(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert catalogue.running == 2

    assert catalogue.running == 0
    await asyncio.wait([waiting])


@given(st.data())
def test_a_damaged_entry_and_one_of_another_name_count_as_misses(data: st.DataObject) -> None:
    async def main() -> None:
        catalogue = Catalogue()
        store = LocalStore(clock=asyncio.get_running_loop().time)
        async with remembering(catalogue, store) as cache:
            await asyncio.gather(cache.loaded(1), cache.loaded(2), cache.loaded(UNKNOWN_SKU))
            [of_1, of_2, of_unknown] = store._entries
            entry = bytearray(store._entries[of_1][0])
            damage = data.draw(st.sampled_from(["swap", "unknown", "cut", "more", "flip", "text"]))
            if damage == "flip":
                entry[data.draw(st.sampled_from(range(len(entry))))] ^= 1 << data.draw(st.integers(0, 7))
            damaged = {
                "swap": store._entries[of_2][0],
                "unknown": store._entries[of_unknown][0],
                "cut": bytes(entry[: data.draw(st.integers(0, len(entry) - 1))]),
                "more": bytes(entry) + data.draw(st.binary(min_size=1)),
                "flip": bytes(entry),
                "text": data.draw(st.binary()),
            }[damage]
            await store.write(of_1, damaged, 60)

        async with remembering(catalogue, store) as neighbour:
            assert (await neighbour.found([1, 2])).keys() == {2}

    run(main())


Operation = tuple[str, int, float]
operations = st.lists(
    st.tuples(st.sampled_from(["read", "write", "wait"]), st.integers(0, 4), st.sampled_from([1.0, 2.0, 5.0])),
    max_size=60,
)


@given(operations, st.integers(1, 4))
def test_a_local_store_keeps_what_was_used_last_until_its_time_is_over(
    operations: list[Operation], capacity: int
) -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time
        store = LocalStore(capacity, now)
        kept: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        for number, (operation, key, seconds) in enumerate(operations):
            name = str(key)
            if operation == "wait":
                await asyncio.sleep(seconds)
            elif operation == "write":
                await store.write(name, b"%d" % number, 10 * seconds)
                kept[name] = b"%d" % number, now() + 10 * seconds
                kept.move_to_end(name)
                while len(kept) > capacity:
                    kept.popitem(last=False)
            else:
                if name in kept and kept[name][1] <= now():
                    del kept[name]
                if name in kept:
                    kept.move_to_end(name)
                assert await store.read([name]) == ({name: kept[name][0]} if name in kept else {})
            assert list(store._entries) == list(kept)
            assert len(kept) <= capacity

    run(main())
