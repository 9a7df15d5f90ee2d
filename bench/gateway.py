"""What the gateway costs: CPU of gateway and service for each request, ours against grpc-gateway as it comes.

Both stand in front of LOMS as it is shipped, each in front of its own, and all are
processes of their own; the client is one more. Rounds of the two take turns, so
that a change of the machine's speed meets both. Needs Linux, for the CPU time of
other processes.

    python -m bench.gateway [--rounds 7] [--requests 5000]
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from bench.processes import cpu_seconds, free_address, start, stop

CONNECTIONS = 16
START_SECONDS = 20

ITEMS = [{"sku": sku, "count": 1} for sku in (1148162, 1625903, 2618151, 3596599, 4288068)]
# The same request_id again and again: one order, and no stock that runs out.
REQUEST_ID = "6f1f64a5-3c4b-4dd5-9a0e-0d9d51a3a2c7"
BODY = json.dumps({"userId": "1", "items": ITEMS, "requestId": REQUEST_ID}).encode()
REQUESTS = {
    "GET /stock/info": b"GET /stock/info?sku=1076963 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n",
    "POST /order/create": (
        b"POST /order/create HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    ),
}


class Stack:
    """A gateway with LOMS behind it."""

    def __init__(self, gateway: str) -> None:
        self.listen = free_address()
        loms = free_address()
        settings = {
            "LOMS_LISTEN": loms,
            "LOMS_SIDE_LISTEN": free_address(),
            "GATEWAY_LOMS_ADDRESS": loms,
            "GATEWAY_LISTEN": self.listen,
            "GATEWAY_SIDE_LISTEN": free_address(),
        }
        self._processes = [
            start(command, settings, subprocess.DEVNULL)
            for command in ([sys.executable, "-m", "services.loms"], [f"bin/{gateway}"])
        ]

    def cpu_seconds(self) -> float:
        """User + system of both processes."""
        return sum(cpu_seconds(process.pid) for process in self._processes)

    def close(self) -> None:
        stop(self._processes)


@contextmanager
def stacks() -> Iterator[dict[str, Stack]]:
    started = {"plain": Stack("plain-gateway"), "ours": Stack("gateway")}
    try:
        for stack in started.values():
            uvloop.run(answers(stack.listen))
        yield started
    finally:
        for stack in started.values():
            stack.close()


async def answers(listen: str) -> None:
    """Waits until a request is answered with 200."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            await load(listen, REQUESTS["GET /stock/info"], CONNECTIONS)
        except (OSError, RuntimeError):
            await asyncio.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{listen} does not answer")


async def load(listen: str, request: bytes, count: int) -> None:
    """Sends the request `count` times over a few connections. Raises RuntimeError for another answer than 200."""
    host, _, port = listen.partition(":")

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            for _ in range(count // CONNECTIONS):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                if b" 200 " not in head[:15]:
                    raise RuntimeError(head.decode())
                length = head.lower().partition(b"content-length:")[2].partition(b"\r")[0]
                await reader.readexactly(int(length))
        finally:
            writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))


def measure(name: str, request: bytes, rounds: int, count: int) -> None:
    costs: dict[str, list[float]] = {"plain": [], "ours": []}
    with stacks() as running:
        for number in range(rounds + 1):
            for kind, stack in running.items():
                before = stack.cpu_seconds()
                uvloop.run(load(stack.listen, request, count))
                if number > 0:  # the first round warms up
                    costs[kind].append((stack.cpu_seconds() - before) / count * 1e6)
            print(f"{name}: round {number} of {rounds} done", file=sys.stderr)
    ratios = [ours / plain for plain, ours in zip(costs["plain"], costs["ours"], strict=True)]
    print(f"{name}, {rounds} rounds of {count} requests, {CONNECTIONS} at once; CPU of gateway and LOMS, user + system")
    for kind, values in costs.items():
        print(f"  {kind:8} {statistics.median(values):6.1f} µs a request  ({min(values):.1f} to {max(values):.1f})")
    print(f"  ratio    {statistics.median(ratios):6.2f}                ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=5000)
    arguments = parser.parse_args()
    for name, request in REQUESTS.items():
        measure(name, request, arguments.rounds, arguments.requests)


if __name__ == "__main__":
    main()
