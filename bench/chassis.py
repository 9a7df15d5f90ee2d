"""What the chassis costs: CPU of the server per call of StocksInfo, as shipped, against a bare grpc.aio server.

Both servers have the same handler over the same in-memory storage and run on
uvloop, each in a process of its own; the client is a third process. Rounds of the
two take turns, so that a change of the machine's speed meets both.

    python -m bench.chassis [--rounds 7] [--calls 20000]
"""

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta

import grpc
import uvloop
from marketplace.loms.v1 import loms_pb2 as pb
from marketplace.loms.v1 import loms_pb2_grpc as pb_grpc

from services.chassis.clock import utc_now
from services.chassis.lifecycle import let_threads_finish, stop_on_signal
from services.chassis.log import configure_logging, get_logger
from services.loms.__main__ import LomsSettings, loms
from services.loms.memory import MemoryStorage
from services.loms.seed import seed_stocks
from services.loms.servicer import LomsServicer
from services.loms.usecases import Orders, Stocks

CONCURRENCY = 32
FREE = "127.0.0.1:0"
REQUEST = pb.StocksInfoRequest(sku=1076963)


async def bare() -> None:
    """The servicer on a grpc.aio server with nothing around it."""
    stop = stop_on_signal()
    storage = MemoryStorage(seed_stocks())
    orders = Orders(storage, utc_now, timedelta(minutes=10), get_logger("loms"))
    server = grpc.aio.server()
    pb_grpc.add_LomsServiceServicer_to_server(LomsServicer(orders, Stocks(storage)), server)
    port = server.add_insecure_port(FREE)
    await server.start()
    await serve_until(stop, port)
    await server.stop(None)


async def shipped() -> None:
    """LOMS as `python -m services.loms` runs it, access log included."""
    let_threads_finish()
    stop = stop_on_signal()
    settings = LomsSettings(listen=FREE, side_listen=FREE)
    configure_logging(settings.log_level, settings.log_format)
    async with loms(settings) as port:
        await serve_until(stop, port)


async def serve_until(stop: asyncio.Event, port: int) -> None:
    """Tells the parent the port, and then its CPU time whenever it asks with a line."""
    print(port, file=sys.stderr, flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        print(usage.ru_utime + usage.ru_stime, file=sys.stderr, flush=True)
    stop.set()


class Server:
    """A server in its own process, which is this or another program of the benchmark's with `--serve`. What it logs
    goes into a pipe that is read, as in production.
    """

    def __init__(self, kind: str, program: str = "bench.chassis", **settings: str) -> None:
        self._log_reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert self._log_reader.stdin is not None
        self._process = subprocess.Popen(
            [sys.executable, "-m", program, "--serve", kind],
            stdin=subprocess.PIPE,
            stdout=self._log_reader.stdin,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | settings,
        )
        self._log_reader.stdin.close()
        self.port = int(self._answer())

    def cpu_seconds(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.readline()

    def close(self) -> None:
        self._process.communicate()
        self._log_reader.wait()


async def load(port: int, calls: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.LomsServiceStub(channel)

        async def worker() -> None:
            for _ in range(calls // CONCURRENCY):
                await stub.StocksInfo(REQUEST, timeout=5)

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


def measure(rounds: int, calls: int) -> None:
    servers = {"bare": Server("bare"), "shipped": Server("shipped")}
    costs: dict[str, list[float]] = {kind: [] for kind in servers}
    try:
        for number in range(rounds + 1):
            for kind, server in servers.items():
                before = server.cpu_seconds()
                uvloop.run(load(server.port, calls))
                cost = (server.cpu_seconds() - before) / calls * 1e6
                if number > 0:  # the first round warms up
                    costs[kind].append(cost)
            print(f"round {number} of {rounds} done", file=sys.stderr)
    finally:
        for server in servers.values():
            server.close()
    ratios = [shipped / bare for bare, shipped in zip(costs["bare"], costs["shipped"], strict=True)]
    print(f"StocksInfo, {rounds} rounds of {calls} calls, {CONCURRENCY} at once; CPU of the server, user + system")
    for kind, values in costs.items():
        print(f"  {kind:8} {statistics.median(values):6.1f} µs a call  ({min(values):.1f} to {max(values):.1f})")
    print(f"  ratio    {statistics.median(ratios):6.2f}             ({min(ratios):.2f} to {max(ratios):.2f})")


SERVERS: dict[str, Callable[[], Awaitable[None]]] = {"bare": bare, "shipped": shipped}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.chassis")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(SERVERS[arguments.serve]())  # type: ignore[arg-type]
    else:
        measure(arguments.rounds, arguments.calls)


if __name__ == "__main__":
    main()
