"""The cart believes nothing of what the catalogue answers: a catalogue that misbehaves costs its own answers alone."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import NoReturn

import grpc
import httpx
import pytest
from marketplace.cart.v1 import cart_pb2 as pb
from marketplace.cart.v1.cart_pb2_grpc import CartServiceStub
from marketplace.loms.v1 import loms_pb2
from marketplace.product.v1 import product_pb2

from services.chassis.errors import AppError, PermissionDeniedError, ResourceExhaustedError, UnavailableError
from services.chassis.status import DETAILS_KEY, GRPC_CODES, of_error
from tests.marketplace import GATEWAY, UNLIMITED, Program, free_ports, started
from tests.rpc.expect import CODES, error_of, reason_of

CANARY = "s3cr3t-canary"
MIB = 2**20
GROWTH_MIB = 64
HUGE_MIB = 64
ATTEMPTS = 4
"""What the contract says of GetProduct."""
DEADLINE_SECONDS = 15
"""What it says of ItemAdd."""

Context = grpc.ServicerContext
Handlers = dict[str, "grpc.RpcMethodHandler[bytes, bytes]"]
Answers = Callable[[int, Context], Iterator[bytes]]
"""The messages that answer the question for a sku."""


def product(sku: int, name: str = "a") -> bytes:
    return product_pb2.GetProductResponse(sku=sku, name=name, price=1).SerializeToString()


def once(answer: Callable[[int], bytes]) -> Answers:
    def answers(sku: int, _context: Context) -> Iterator[bytes]:
        yield answer(sku)

    return answers


def without_end(sku: int, context: Context) -> Iterator[bytes]:
    message = product(sku, "a" * (MIB // 2))
    while context.is_active():
        yield message


def silent(_sku: int, context: Context) -> Iterator[bytes]:
    ended = Event()
    if context.add_callback(ended.set):
        ended.wait()
    yield from ()


def refused(error: AppError, details: bytes | None) -> Answers:
    """With these details, which gRPC does not look at."""

    def answers(_sku: int, context: Context) -> NoReturn:
        if details is not None:
            context.set_trailing_metadata(((DETAILS_KEY, details),))
        context.abort(GRPC_CODES[error.code], error.message)

    return answers


def as_services_do(error: AppError) -> Answers:
    return refused(error, of_error(error).SerializeToString())


@dataclass(frozen=True)
class Case:
    """A way to misbehave, and what the callers of the cart are told."""

    answers: Answers
    code: str
    status: int
    message: str
    attempts: int = 1


BROKEN = ("INTERNAL", 500, "product answered against its contract")
RATE = ResourceExhaustedError("too fast", reason="RATE_LIMIT")
CASES = {
    "more than may be": Case(
        once(lambda sku: product(sku, "a" * MIB)), "INTERNAL", 500, "product answered RESOURCE_EXHAUSTED", ATTEMPTS
    ),
    "no message": Case(once(lambda _: b"\xff" * 10), *BROKEN),
    "a message that is cut off": Case(once(lambda sku: product(sku)[:-3]), *BROKEN),
    "no utf-8": Case(once(lambda sku: product(sku).replace(b"a", b"\xff")), *BROKEN),
    "nothing": Case(once(lambda _: b""), *BROKEN),
    "a product without a name": Case(once(lambda sku: product(sku, "")), *BROKEN),
    "another sku": Case(once(lambda sku: product(sku + 1)), "INTERNAL", 500, "product answered about another sku"),
    "calls too many": Case(as_services_do(RATE), "RESOURCE_EXHAUSTED", 429, "too fast", ATTEMPTS),
    "calls too many, without a reason": Case(
        refused(RATE, None), "INTERNAL", 500, "product answered RESOURCE_EXHAUSTED", ATTEMPTS
    ),
    "calls too many, with details that are none": Case(
        refused(RATE, b"\xff" * 10), "INTERNAL", 500, "product answered RESOURCE_EXHAUSTED", ATTEMPTS
    ),
    "that it is gone": Case(
        refused(UnavailableError(CANARY), None), "UNAVAILABLE", 503, "product cannot be reached", ATTEMPTS
    ),
    "an error that the contract does not know": Case(
        as_services_do(PermissionDeniedError(CANARY, reason=CANARY.upper())), "INTERNAL", 500, "internal error"
    ),
}
ENDLESS = {
    "messages": Case(without_end, "DEADLINE_EXCEEDED", 504, "deadline"),
    "silence": Case(silent, "DEADLINE_EXCEEDED", 504, "deadline"),
}
SKUS = {name: (2 * number, 2 * number + 1) for number, name in enumerate([*CASES, *ENDLESS], start=1)}
"""One for each door: the cart asks once for those who ask for one sku at the same time."""
GOOD, HUGE = 1000, 1001
HUGE_ANSWER = product(HUGE, "a" * (HUGE_MIB * MIB))
ANSWERS: dict[int, Answers] = {
    **{sku: case.answers for name, case in (CASES | ENDLESS).items() for sku in SKUS[name]},
    GOOD: once(product),
    HUGE: once(lambda _: HUGE_ANSWER),
}


@dataclass
class Untrusted:
    """A cart, as a process, whose catalogue answers by sku."""

    cart: Program
    asked: list[int] = field(default_factory=list)

    @property
    def peak_mib(self) -> float:
        """How much memory it had at most."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.cart.process.pid}/status").read_text())
        assert found
        return int(found[1]) / 1024


@contextmanager
def behind_the_cart(asked: list[int]) -> Iterator[int]:
    """The port of the catalogue and of the stock."""

    def get_product(question: bytes, context: Context) -> Iterator[bytes]:
        sku = product_pb2.GetProductRequest.FromString(question).sku
        asked.append(sku)
        return ANSWERS[sku](sku, context)

    def stocks_info(_question: bytes, _context: Context) -> bytes:
        return loms_pb2.StocksInfoResponse(count=UNLIMITED).SerializeToString()

    products: Handlers = {"GetProduct": grpc.unary_stream_rpc_method_handler(get_product)}
    stocks: Handlers = {"StocksInfo": grpc.unary_unary_rpc_method_handler(stocks_info)}
    handlers = (
        grpc.method_handlers_generic_handler("marketplace.product.v1.ProductService", products),
        grpc.method_handlers_generic_handler("marketplace.loms.v1.LomsService", stocks),
    )
    with ThreadPoolExecutor() as threads:
        server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers(handlers)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(0).wait()


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Untrusted]:
    asked: list[int] = []
    listen, side = (f"127.0.0.1:{port}" for port in free_ports(2))
    log = tmp_path_factory.mktemp("cart") / "log"
    with behind_the_cart(asked) as port:
        addresses = {f"CART_{name}_ADDRESS": f"127.0.0.1:{port}" for name in ("LOMS", "PRODUCT")}
        settings = {"CART_LISTEN": listen, "CART_SIDE_LISTEN": side, "CART_PRODUCT_RATE_LIMIT": str(UNLIMITED)}
        with started(log, sys.executable, "-m", "services.cart", **settings, **addresses) as cart:
            cart.answer(f"http://{side}/readyz")
            yield Untrusted(cart, asked)


@pytest.fixture(scope="module")
def gateway(untrusted: Untrusted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    public, side = (f"127.0.0.1:{port}" for port in free_ports(2))
    settings = {"GATEWAY_LISTEN": public, "GATEWAY_SIDE_LISTEN": side}
    settings["GATEWAY_CART_ADDRESS"] = untrusted.cart.settings["CART_LISTEN"]
    with started(tmp_path_factory.mktemp("gateway") / "log", GATEWAY, **settings) as program:
        program.answer(f"http://{side}/healthz")
        yield program


@pytest.fixture
async def stub(untrusted: Untrusted) -> AsyncIterator[CartServiceStub]:
    async with grpc.aio.insecure_channel(untrusted.cart.settings["CART_LISTEN"]) as channel:
        yield CartServiceStub(channel)


def added(sku: int) -> pb.ItemAddRequest:
    return pb.ItemAddRequest(user_id=1, sku=sku, count=1)


async def post(gateway: Program, sku: int) -> httpx.Response:
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=2 * DEADLINE_SECONDS) as http:
        return await http.post(f"/user/1/cart/{sku}", json={"count": 1})


async def check(name: str, case: Case, untrusted: Untrusted, gateway: Program, stub: CartServiceStub) -> None:
    """Both doors end as they should."""
    one, other = SKUS[name]

    error, answer = await asyncio.gather(error_of(stub.ItemAdd(added(one))), post(gateway, other))

    said = answer.json()
    assert (CODES[error.code].name, answer.status_code, said["code"]) == (case.code, case.status, error.code)
    assert case.message in error.message
    assert case.message in said["message"]
    assert CANARY not in f"{error} {answer.text}".lower()
    assert [untrusted.asked.count(sku) for sku in (one, other)] == [case.attempts] * 2


@pytest.mark.parametrize("name", CASES)
async def test_what_a_catalogue_does_wrong_is_an_error_of_the_contract_through_both_doors(
    name: str, untrusted: Untrusted, gateway: Program, stub: CartServiceStub
) -> None:
    await check(name, CASES[name], untrusted, gateway, stub)
    await stub.ItemAdd(added(GOOD))


async def test_an_answer_just_below_the_limit_is_taken(
    stub: CartServiceStub, untrusted: Untrusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    sku = 1002
    monkeypatch.setitem(ANSWERS, sku, once(lambda sku: product(sku, "a" * (MIB - 1000))))

    await stub.ItemAdd(added(sku))

    assert untrusted.asked.count(sku) == 1


async def test_gigabytes_of_answers_do_not_fill_the_memory(stub: CartServiceStub, untrusted: Untrusted) -> None:
    await stub.ItemAdd(added(GOOD))
    before = untrusted.peak_mib

    for _ in range(8):
        failures = await asyncio.gather(*(reason_of(stub.ItemAdd(added(HUGE))) for _ in range(2)))
        assert failures == [("INTERNAL", "INTERNAL")] * 2

    assert untrusted.asked.count(HUGE) * HUGE_MIB >= 1024
    assert untrusted.peak_mib - before <= GROWTH_MIB
    await stub.ItemAdd(added(GOOD))


@pytest.mark.long
async def test_a_catalogue_that_never_ends_costs_a_caller_his_deadline(
    untrusted: Untrusted, gateway: Program, stub: CartServiceStub
) -> None:
    """That of the contract, as over HTTP nobody can have another one: it takes 15 seconds, in which nothing is done."""
    before = untrusted.peak_mib

    await asyncio.gather(*(check(name, case, untrusted, gateway, stub) for name, case in ENDLESS.items()))

    assert untrusted.peak_mib - before <= GROWTH_MIB
    await stub.ItemAdd(added(GOOD))


async def test_a_catalogue_is_left_when_the_caller_leaves(
    stub: CartServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = Event()

    def noted(_sku: int, context: Context) -> Iterator[bytes]:
        context.add_callback(left.set)
        left.wait()
        yield from ()

    monkeypatch.setitem(ANSWERS, 1003, noted)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ItemAdd(added(1003), timeout=0.3)

    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await asyncio.to_thread(left.wait, 2)
