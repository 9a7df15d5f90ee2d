"""The load: one process that sends requests over a few connections, each as soon as the last was answered.

It does as little as it can for a request, as it shares the machine with what it measures.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import grpc
import uvloop
from google.protobuf.message import Message
from marketplace.loms.v1 import loms_pb2 as pb
from marketplace.loms.v1 import loms_pb2_grpc as pb_grpc

Operation = Literal["OrderCreate", "OrderInfo", "StocksInfo"]
Transport = Literal["http", "grpc"]

SKUS = range(1_000_001, 1_001_001)
ITEMS = 3
USERS = range(1, 1001)
VARIETY = 2000
"""How many requests are made beforehand, to be sent again and again."""
TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Load:
    """What is to be sent, and for how long."""

    operation: Operation
    connections: int
    seconds: float
    order_ids: Sequence[int]
    """The orders that OrderInfo asks for."""


@dataclass(frozen=True)
class Answers:
    """What came of it. All of them were successes."""

    latencies: list[float]
    seconds: float
    cpu_seconds: float
    """What the load itself has needed."""


def send(transport: Transport, address: str, load: Load) -> Answers:
    """Sends a load there. Raises when an answer is not a success."""
    if transport == "grpc":
        return uvloop.run(_send_grpc(address, load))
    return send_http(address, [_encoded(message) for message in _messages(load)], load.connections, load.seconds)


def send_http(address: str, requests: Sequence[bytes], connections: int, seconds: float) -> Answers:
    """Sends these requests again and again. Raises when an answer is not a 200."""
    return uvloop.run(_send_http(address, requests, connections, seconds))


async def _send_http(address: str, given: Sequence[bytes], count: int, seconds: float) -> Answers:
    requests = itertools.cycle(given)
    host, _, port = address.partition(":")
    loop = asyncio.get_running_loop()
    run = _Run(seconds)
    connections = [_Connection(run, requests) for _ in range(count)]
    for connection in connections:
        await loop.create_connection(lambda connection=connection: connection, host, int(port))  # type: ignore[misc]
    run.begin()
    for connection in connections:
        connection.send()
    await asyncio.wait_for(asyncio.gather(*(connection.done for connection in connections)), run.limit)
    return run.answers()


async def _send_grpc(address: str, load: Load) -> Answers:
    requests = itertools.cycle(_messages(load))
    async with grpc.aio.insecure_channel(address) as channel:
        call = cast("Callable[..., Awaitable[Message]]", getattr(pb_grpc.LomsServiceStub(channel), load.operation))
        await asyncio.wait_for(channel.channel_ready(), TIMEOUT_SECONDS)
        run = _Run(load.seconds)

        async def worker() -> None:
            while not run.over():
                sent = time.perf_counter()
                await call(next(requests), timeout=TIMEOUT_SECONDS)
                run.latencies.append(time.perf_counter() - sent)

        run.begin()
        await asyncio.gather(*(worker() for _ in range(load.connections)))
        return run.answers()


class _Run:
    """The time of a load, and what was answered in it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.latencies: list[float] = []

    def begin(self) -> None:
        self._cpu = time.process_time()
        self._began = time.perf_counter()
        self._until = self._began + self._seconds

    @property
    def limit(self) -> float:
        """When the last answer must be there."""
        return self._seconds + TIMEOUT_SECONDS

    def over(self) -> bool:
        return time.perf_counter() >= self._until

    def answers(self) -> Answers:
        return Answers(self.latencies, time.perf_counter() - self._began, time.process_time() - self._cpu)


class _Connection(asyncio.Protocol):
    """An HTTP connection with one request under way. It reads of an answer what it must: status and length."""

    def __init__(self, run: _Run, requests: Iterator[bytes]) -> None:
        self._run = run
        self._requests = requests
        self._received = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0]):
            return
        self._run.latencies.append(time.perf_counter() - self._sent)
        self._received = b""
        if not head.startswith(b"HTTP/1.1 200 "):
            self.done.set_exception(RuntimeError(f"{head.decode()}\n\n{body.decode()}"))
        elif self._run.over():
            self.done.set_result(None)
        else:
            self.send()
            return
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the connection was closed"))


def _messages(load: Load) -> list[Message]:
    return [_message(load) for _ in range(VARIETY)]


def _message(load: Load) -> Message:
    match load.operation:
        case "OrderCreate":
            items = [pb.OrderItem(sku=sku, count=1) for sku in random.sample(SKUS, ITEMS)]
            return pb.OrderCreateRequest(user_id=random.choice(USERS), items=items)
        case "OrderInfo":
            return pb.OrderInfoRequest(order_id=random.choice(load.order_ids))
        case "StocksInfo":
            return pb.StocksInfoRequest(sku=random.choice(SKUS))


def _encoded(message: Message) -> bytes:
    """The HTTP request that says the same."""
    match message:
        case pb.OrderInfoRequest():
            return b"GET /order/info?orderId=%d HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n" % message.order_id
        case pb.StocksInfoRequest():
            return b"GET /stock/info?sku=%d HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n" % message.sku
        case pb.OrderCreateRequest():
            items = [{"sku": item.sku, "count": item.count} for item in message.items]
            body = json.dumps({"userId": str(message.user_id), "items": items}).encode()
            return (
                b"POST /order/create HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )
    raise TypeError(f"there is no route for {type(message).__name__}")
