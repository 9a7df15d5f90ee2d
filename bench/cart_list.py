"""What a list of ten lines with a warm cache costs the cart, through the gateway: CPU per request of its process.

The cache is in the memory of the process, or in two Redis. The third cart is bare: it makes the same list from
nothing, and no cart on grpc.aio is below it. Rounds of the three take turns.

    python -m bench.cart_list [--rounds 5] [--seconds 5]
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice

import httpx

from bench.bare_cart import LINES
from bench.load import send_http
from bench.processes import ROOT, cpu_seconds, free_address, start, stop
from services.loms.seed import seed_stocks
from tests.redis import running_redis
from tests.waiting import until

CONNECTIONS = 32
LIST = b"GET /user/1/cart HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"
UNLIMITED = 1_000_000


@contextmanager
def marketplace(cart: str, redis_urls: str) -> Iterator[tuple[int, str]]:
    """Cart, loms, product and gateway as processes; gives the cart's pid and where the gateway answers."""
    names = ("cart", "loms", "product", "notifier")
    addresses = {name: free_address() for name in names}
    gateway = free_address()
    settings = {
        **{f"{name.upper()}_LISTEN": address for name, address in addresses.items()},
        **{f"{name.upper()}_SIDE_LISTEN": free_address() for name in names},
        **{f"GATEWAY_{name.upper()}_ADDRESS": address for name, address in addresses.items()},
        "CART_LOMS_ADDRESS": addresses["loms"],
        "CART_PRODUCT_ADDRESS": addresses["product"],
        "CART_PRODUCT_RATE_LIMIT": str(UNLIMITED),
        "GATEWAY_LISTEN": gateway,
        "GATEWAY_SIDE_LISTEN": free_address(),
        **({"CART_REDIS_URLS": redis_urls} if redis_urls else {}),
    }
    commands = [[sys.executable, "-m", module] for module in (cart, "services.loms", "services.product")]
    commands.append([str(ROOT / "bin" / "gateway")])
    programs = [start(command, settings, subprocess.DEVNULL) for command in commands]
    try:
        yield programs[0].pid, gateway
    finally:
        stop(programs)


async def fill(url: str) -> None:
    """Waits until the services answer, and puts ten lines into a cart."""
    skus = list(islice((sku for sku, stock in seed_stocks().items() if stock.available), LINES))
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:

        async def are_added() -> bool:
            try:
                answers = [await http.post(f"/user/1/cart/{sku}", json={"count": 1}) for sku in skus]
            except httpx.TransportError:
                return False
            return all(answer.is_success for answer in answers)

        await until(are_added)


def measure(rounds: int, seconds: float) -> None:
    costs: dict[str, list[float]] = {}
    with ExitStack() as stack:
        urls = ",".join(server.url for server in stack.enter_context(running_redis(2)))
        kinds = {
            "bare": ("bench.bare_cart", ""),
            "cache in memory": ("services.cart", ""),
            "cache in redis": ("services.cart", urls),
        }
        started = {kind: stack.enter_context(marketplace(*asked)) for kind, asked in kinds.items()}
        for kind, (_, address) in started.items():
            costs[kind] = []
            asyncio.run(fill(f"http://{address}"))
        for number in range(rounds + 1):
            for kind, (pid, address) in started.items():
                before = cpu_seconds(pid)
                answers = send_http(address, [LIST], CONNECTIONS, seconds)
                if number > 0:  # the first round warms up
                    costs[kind].append((cpu_seconds(pid) - before) / len(answers.latencies) * 1000)
            print(f"round {number} of {rounds} done", file=sys.stderr)
    print(f"List of {LINES} lines, {rounds} rounds of {seconds:g} s, {CONNECTIONS} connections; CPU of the cart")
    for kind, values in costs.items():
        ratio = statistics.median(cost / bare for cost, bare in zip(values, costs["bare"], strict=True))
        spread = f"({min(values):.2f} to {max(values):.2f})"
        print(f"  {kind:15} {statistics.median(values):5.2f} ms a request  {spread}  {ratio:.2f} x bare")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cart_list")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    measure(arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
