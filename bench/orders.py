"""What orders on PostgreSQL cost: CPU, requests/s and latency, as shipped, against a bare prototype and a baseline.

The four doors of bench/doors.py take turns within a round, so that a change of the
machine's speed meets all of them; the load is a process of its own. Every answer must be
a success, and after each turn the database must hold what was ordered, no more and no less.

    python -m bench.orders [--seconds 5] [--rounds 3] [--connections 1 8 32]

Each request meets each door for `seconds` at each number of connections, spread over the rounds.
"""

import argparse
import asyncio
import itertools
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TypeAlias, get_args

import httpx
import uvloop

from bench.doors import Cost, Door, Effects, open_doors
from bench.load import ITEMS, SKUS, Answers, Load, Operation, send

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
BASELINE = "baseline"
WARM_UP_SECONDS = 1
WARM_UP_CONNECTIONS = 8
ORDERS_ASKED_FOR = 2000


@dataclass(frozen=True)
class Turn:
    """What a door has answered to a load, and what that has cost."""

    answers: Answers
    cost: Cost

    def each(self, cpu_seconds: float) -> float:
        """Milliseconds a request."""
        return cpu_seconds / len(self.answers.latencies) * 1e3

    @property
    def rate(self) -> float:
        return len(self.answers.latencies) / self.answers.seconds


@dataclass(frozen=True)
class Figures:
    """The medians of some turns: CPU in milliseconds a request, requests a second. Latencies in milliseconds."""

    service: float
    gateway: float
    postgres: float
    served: float
    """Service, gateway and PostgreSQL together."""
    load: float
    rate: float
    times: float
    """The requests a second of the baseline in the same round."""
    p50: float
    p95: float
    p99: float


Case: TypeAlias = tuple[int, Operation, str]
"""Connections, operation, name of the door."""


async def measure(seconds: float, rounds: int, connections: Sequence[int]) -> dict[Case, Figures]:
    turns: dict[Case, list[Turn]] = {}
    with ProcessPoolExecutor(1, get_context("spawn")) as loader:
        async with open_doors() as doors:
            await warm_up(doors, loader)
            await check_answers(doors)
            order_ids = {door.name: await door.order_ids(ORDERS_ASKED_FOR) for door in doors}
            for number in range(1, rounds + 1):
                for at_once, operation, door in itertools.product(connections, OPERATIONS, doors):
                    load = Load(operation, at_once, seconds / rounds, order_ids[door.name])
                    turns.setdefault((at_once, operation, door.name), []).append(await turn(door, load, loader))
                print(f"round {number} of {rounds} done", file=sys.stderr)
    return {case: figures(turns[case], turns[case[0], case[1], BASELINE]) for case in turns}


async def warm_up(doors: Sequence[Door], loader: Executor) -> None:
    """Fills tables and caches, and tells the planner, as the server does by itself after a minute."""
    for operation, door in itertools.product(OPERATIONS, doors):
        order_ids = await door.order_ids(ORDERS_ASKED_FOR)
        await turn(door, Load(operation, WARM_UP_CONNECTIONS, WARM_UP_SECONDS, order_ids), loader)
    for door in doors:
        await door.database.execute("VACUUM ANALYZE")
    print("warmed up", file=sys.stderr)


async def turn(door: Door, load: Load, loader: Executor) -> Turn:
    """Sends a load through a door. Raises RuntimeError when its effects are not what was ordered."""
    seen, spent = await door.effects(), door.cost()
    answers = await asyncio.get_running_loop().run_in_executor(loader, send, door.transport, door.address, load)
    await door.drained()
    cost = door.cost() - spent
    orders = len(answers.latencies) if load.operation == "OrderCreate" else 0
    ordered = Effects(orders, ITEMS * orders, 2 * orders, ITEMS * orders)
    effects = await door.effects() - seen
    if effects != ordered:
        raise RuntimeError(f"{door.name}, {load.operation}: {effects} instead of {ordered}")
    return Turn(answers, cost)


async def check_answers(doors: Sequence[Door]) -> None:
    """Raises RuntimeError unless the baseline answers as the gateway does."""
    gateway, baseline = [await conversation(door) for door in doors if door.transport == "http"]
    if gateway != baseline:
        raise RuntimeError(f"gateway and baseline answer differently:\n{gateway}\n{baseline}")


async def conversation(door: Door) -> list[object]:
    """What is said of an order and of its stock. Of the id and of what is in stock only the kind: they differ."""
    items = [{"sku": sku, "count": count} for count, sku in enumerate(SKUS[:ITEMS], 1)]
    async with httpx.AsyncClient(base_url=f"http://{door.address}") as client:

        async def available() -> list[str]:
            return [(await client.get("/stock/info", params={"sku": item["sku"]})).json()["count"] for item in items]

        stock = await available()
        created = (await client.post("/order/create", json={"userId": "7", "items": items})).json()
        order = (await client.get("/order/info", params={"orderId": created["orderId"]})).json()
        taken = [int(before) - int(after) for before, after in zip(stock, await available(), strict=True)]
    return [list(created), type(created["orderId"]), order, type(stock[0]), taken]


def figures(turns: Sequence[Turn], baseline: Sequence[Turn]) -> Figures:
    def median(value: Callable[[Turn], float]) -> float:
        return statistics.median(map(value, turns))

    latencies = [latency * 1e3 for turn in turns for latency in turn.answers.latencies]
    percentiles = statistics.quantiles(latencies, n=100, method="inclusive")
    return Figures(
        service=median(lambda turn: turn.each(turn.cost.service)),
        gateway=median(lambda turn: turn.each(turn.cost.gateway)),
        postgres=median(lambda turn: turn.each(turn.cost.postgres)),
        served=median(lambda turn: turn.each(turn.cost.served)),
        load=median(lambda turn: turn.each(turn.answers.cpu_seconds)),
        rate=median(lambda turn: turn.rate),
        times=statistics.median(turn.rate / base.rate for turn, base in zip(turns, baseline, strict=True)),
        p50=percentiles[49],
        p95=percentiles[94],
        p99=percentiles[98],
    )


def report(measured: Mapping[Case, Figures]) -> None:
    print("CPU and latency: ms a request; ×: requests/s of the baseline")
    print(f"{'':24} service gateway postgres     sum    load   req/s      ×     p50     p95     p99")
    for (connections, operation, door), f in measured.items():
        cpu = f"{f.service:8.3f}{f.gateway:8.3f}{f.postgres:9.3f}{f.served:8.3f}{f.load:8.3f}"
        latency = f"{f.p50:8.2f}{f.p95:8.2f}{f.p99:8.2f}"
        print(f"{connections:<3} {operation:11} {door:8} {cpu}{f.rate:8.0f}{f.times:7.2f}{latency}")


def compare(measured: Mapping[Case, Figures], connections: int) -> None:
    """Prints the targets, and what the platform adds to the bare prototype."""

    def at(operation: Operation, door: str) -> Figures:
        return measured[connections, operation, door]

    create, info = at("OrderCreate", "gateway"), at("OrderInfo", "gateway")
    print(f"at {connections} connections:")
    print(f"  OrderCreate, gateway: {create.served:.2f} ms of CPU; target: at most 0.50")
    print(f"  OrderCreate, gateway: {create.times:.2f} × baseline in requests/s; target: at least 5")
    print(f"  OrderInfo, gRPC: {at('OrderInfo', 'gRPC').service:.2f} ms of CPU in the service; target: at most 0.16")
    print(f"  OrderInfo, gateway: {info.times:.2f} × baseline in requests/s; target: at least 4.5")
    for operation in OPERATIONS:
        shipped, bare = at(operation, "gRPC"), at(operation, "bare")
        print(f"  {operation}: CPU of the service {shipped.service / bare.service:.2f} × bare")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.orders")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    arguments = parser.parse_args()
    measured = uvloop.run(measure(arguments.seconds, arguments.rounds, arguments.connections))
    report(measured)
    compare(measured, arguments.connections[-1])


if __name__ == "__main__":
    main()
