"""What the chassis promises those who call another service, shown on calls of the catalogue."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from chassis.v1 import options_pb2 as options
from google.rpc import error_details_pb2
from marketplace.loms.v1 import loms_pb2
from marketplace.loms.v1.loms_pb2_grpc import LomsServiceStub
from marketplace.product.v1 import product_pb2 as pb
from marketplace.product.v1.product_pb2_grpc import (
    ProductServiceStub,
)

from services.chassis import circuit_breaker, retries
from services.chassis.call import Call, current_call
from services.chassis.client import client
from services.chassis.contract import Retry, Rpc
from services.chassis.errors import (
    AppError,
    DeadlineExceededError,
    NotFoundError,
    OverloadedError,
    ResourceExhaustedError,
    UnavailableError,
)
from services.chassis.rate_limiter import Turns
from services.chassis.status import of_error
from tests.rpc.products import Products, serving
from tests.waiting import until

REQUEST = pb.GetProductRequest(sku=1)
DOWN = UnavailableError("down for a moment")
THROTTLED = ResourceExhaustedError("too fast")
CATALOGUED = NotFoundError("no such product", reason="PRODUCT_NOT_FOUND")
ATTEMPTS = 4
"""What the contract says of GetProduct."""

ROUNDED = 1.01
"""gRPC rounds the time that is left upwards when it sends it."""


class AtOnce:
    """A limiter that lets everybody start."""

    async def turn(self) -> None:
        pass


@asynccontextmanager
async def stub_to(
    products: Products, limiter_of: Callable[[Rpc], Turns] = lambda _: AtOnce(), port: int = 0
) -> AsyncIterator[ProductServiceStub]:
    async with (
        serving(products, port) as (taken, _),
        client(ProductServiceStub, f"127.0.0.1:{taken}", "product", token="own", limiter_of=limiter_of) as stub,
    ):
        yield stub


@contextmanager
def serving_call(seconds: float, token: str | None = None) -> Iterator[Call]:
    """While a call is being served that has so many seconds left."""
    deadline = asyncio.get_running_loop().time() + seconds
    call = Call(token, "r1", deadline, deadline_is_ours=False, traceparent=f"00-{1:032x}-{2:016x}-01")
    before = current_call.set(call)
    yield call
    current_call.reset(before)


async def test_with_a_call_go_the_rest_of_the_deadline_the_token_the_request_id_and_the_trace() -> None:
    products = Products()
    async with stub_to(products) as stub:
        with serving_call(0.3, token="user's") as call:
            await stub.GetProduct(REQUEST)

    [remaining] = products.remaining
    assert remaining is not None
    assert 0 < remaining <= 0.3 * ROUNDED
    assert products.metadata["authorization"] == "Bearer user's"
    assert products.metadata["x-request-id"] == "r1"
    assert products.metadata["traceparent"] == call.traceparent


async def test_outside_of_a_call_the_deadline_is_the_contracts_and_the_token_our_own() -> None:
    products = Products()
    async with stub_to(products) as stub:
        await stub.GetProduct(REQUEST)

    [remaining] = products.remaining
    assert remaining is not None
    assert 4 < remaining <= 5 * ROUNDED
    assert products.metadata["authorization"] == "Bearer own"


@pytest.mark.parametrize("error", [DOWN, THROTTLED])
async def test_an_error_that_passes_is_not_seen(error: AppError) -> None:
    products = Products(failures=[error] * (ATTEMPTS - 1))
    async with stub_to(products) as stub:
        assert (await stub.GetProduct(REQUEST)).name == "a"
    assert len(products.calls) == ATTEMPTS


@pytest.mark.parametrize("error", [DOWN, THROTTLED])
async def test_after_the_last_attempt_the_error_is_raised(error: AppError) -> None:
    products = Products(always=error)
    async with stub_to(products) as stub:
        with pytest.raises(type(error), match=error.message):
            await stub.GetProduct(REQUEST)
    assert len(products.calls) == ATTEMPTS


async def test_an_error_that_does_not_pass_is_raised_at_once() -> None:
    products = Products(always=CATALOGUED)
    async with stub_to(products) as stub:
        with pytest.raises(NotFoundError) as raised:
            await stub.GetProduct(REQUEST)
    assert raised.value.reason == "PRODUCT_NOT_FOUND"
    assert len(products.calls) == 1


async def test_the_next_attempt_waits_for_as_long_as_the_service_asks() -> None:
    products = Products(failures=[OverloadedError("full", 0.4)])
    async with stub_to(products) as stub:
        await stub.GetProduct(REQUEST)

    first, second = products.calls
    assert second - first >= 0.4


async def test_no_attempt_begins_that_the_deadline_would_end() -> None:
    products = Products(always=OverloadedError("full", 0.5))
    async with stub_to(products) as stub:
        with serving_call(0.3), pytest.raises(ResourceExhaustedError):
            await stub.GetProduct(REQUEST)
    assert len(products.calls) == 1


async def test_a_call_ends_with_the_deadline_of_the_one_that_it_is_made_for() -> None:
    products = Products(hangs=True)
    async with stub_to(products) as stub:
        with serving_call(0.1), pytest.raises(DeadlineExceededError):
            await stub.GetProduct(REQUEST)
        with serving_call(-0.1), pytest.raises(DeadlineExceededError):
            await stub.GetProduct(REQUEST)
    assert len(products.calls) == 1


async def test_retries_of_a_thousand_calls_that_all_fail_are_a_few() -> None:
    products = Products(always=THROTTLED)
    async with stub_to(products) as stub:
        for _ in range(100):
            failed = await asyncio.gather(*(stub.GetProduct(REQUEST) for _ in range(10)), return_exceptions=True)
            assert {type(error) for error in failed} == {ResourceExhaustedError}
    assert 1000 < len(products.calls) <= 1100


async def test_successes_earn_new_retries() -> None:
    budget = retries.RetryBudget()
    while budget.failed():
        pass
    assert not budget.failed()

    for _ in range(30):
        budget.succeeded()
    assert budget.failed()


async def test_a_service_that_is_gone_costs_no_wait_and_is_found_again_when_it_is_back(unused_tcp_port: int) -> None:
    async with client(ProductServiceStub, f"127.0.0.1:{unused_tcp_port}", "product") as stub:
        for _ in range(circuit_breaker.FAILURES):
            with pytest.raises(UnavailableError):
                await stub.ListSkus(pb.ListSkusRequest())
        products = Products()
        async with stub_to(products, port=unused_tcp_port):
            with pytest.raises(UnavailableError, match="product cannot be reached"):
                await stub.ListSkus(pb.ListSkusRequest())

            async def is_back() -> bool:
                try:
                    await stub.ListSkus(pb.ListSkusRequest())
                except UnavailableError:
                    return False
                return True

            await until(is_back, seconds=2)


async def test_while_a_service_is_gone_one_call_a_second_tries_it() -> None:
    products = Products(always=DOWN)
    async with stub_to(products) as stub:
        await asyncio.gather(*(stub.GetProduct(REQUEST) for _ in range(200)), return_exceptions=True)
        before = len(products.calls)
        await asyncio.gather(*(stub.GetProduct(REQUEST) for _ in range(200)), return_exceptions=True)
    assert len(products.calls) - before <= 2


async def test_an_order_is_made_again_only_under_its_request_id(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    def at_once(_retry: Retry, attempt: int) -> float:
        attempts.append(attempt)
        return 0.0

    monkeypatch.setattr("services.chassis.client.backoff", at_once)
    order = loms_pb2.OrderCreateRequest(user_id=1, items=[loms_pb2.OrderItem(sku=1, count=1)])
    async with client(LomsServiceStub, f"127.0.0.1:{unused_tcp_port}", "loms") as stub:
        with pytest.raises(UnavailableError):
            await stub.OrderCreate(order)
        assert attempts == []
        order.request_id = "8a1f6f6e-5d0c-4c55-9d13-6a4e0f6d2b11"
        with pytest.raises(UnavailableError):
            await stub.OrderCreate(order)
    assert attempts == [1, 2]


async def test_each_replica_gets_its_share_and_the_other_that_of_one_that_is_gone() -> None:
    one, other = Products(), Products()
    async with (
        serving(one) as (first, server),
        serving(other) as (second, _),
        client(
            ProductServiceStub, f"127.0.0.1:{first},127.0.0.1:{second}", "product", limiter_of=lambda _: AtOnce()
        ) as stub,
    ):
        for number in range(200):
            if number == 100:
                stopping = asyncio.create_task(server.stop(5))
            await stub.GetProduct(REQUEST)
        await stopping
    assert len(one.calls) > 20
    assert len(other.calls) > 100


class Numbered:
    """A limiter that notes who had a turn, and may let nobody start."""

    def __init__(self, turns: int) -> None:
        self.taken = 0
        self._turns = asyncio.Semaphore(turns)

    async def turn(self) -> None:
        await self._turns.acquire()
        self.taken += 1


async def test_every_start_of_a_limited_call_has_its_turn_and_the_others_need_none() -> None:
    limiter = Numbered(10)
    limited: list[str] = []

    def limiter_of(rpc: Rpc) -> Turns:
        limited.append(rpc.name)
        return limiter

    products = Products(failures=[DOWN])
    async with stub_to(products, limiter_of) as stub:
        await stub.GetProduct(REQUEST)
        await stub.ListSkus(pb.ListSkusRequest())

    assert limited == ["ProductService/GetProduct"]
    assert limiter.taken == 2
    assert len(products.calls) == 3


async def test_a_call_whose_turn_does_not_come_ends_with_its_deadline_and_starts_nothing() -> None:
    products = Products()
    async with stub_to(products, lambda _: Numbered(0)) as stub:
        with serving_call(0.1), pytest.raises(DeadlineExceededError):
            await stub.GetProduct(REQUEST)
    assert products.calls == []


async def test_the_wait_for_a_turn_is_part_of_the_deadline() -> None:
    products = Products()

    class Slow:
        async def turn(self) -> None:
            await asyncio.sleep(0.2)

    async with stub_to(products, lambda _: Slow()) as stub:
        with serving_call(1):
            await stub.GetProduct(REQUEST)
    [remaining] = products.remaining
    assert remaining is not None
    assert remaining <= 0.8


def test_pauses_double_up_to_the_longest_and_are_random() -> None:
    retry = Retry(5, frozenset({options.CODE_UNAVAILABLE}), initial_backoff=0.1, max_backoff=0.5)
    for attempt, longest in enumerate((0.1, 0.2, 0.4, 0.5), 1):
        pauses = [retries.backoff(retry, attempt) for _ in range(200)]
        assert 0 <= min(pauses) < longest / 4
        assert longest * 3 / 4 < max(pauses) <= longest


def test_an_overload_says_when_to_come_again() -> None:
    info = error_details_pb2.RetryInfo()
    assert of_error(OverloadedError("full", 0.5)).details[1].Unpack(info)
    assert info.retry_delay.ToTimedelta().total_seconds() == 0.5
