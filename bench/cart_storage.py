"""What the in-memory cart storage costs: CPU per add, list and delete.

python -m bench.cart_storage [--rounds 7] [--users 2000]
"""

import argparse
import statistics
import time
from collections.abc import Awaitable, Callable

import uvloop

from services.cart.memory import MemoryStorage
from services.cart.usecases import MAX_COUNT, MAX_LINES, Item

LINES = 10


async def measure(rounds: int, users: int) -> None:
    costs: dict[str, list[float]] = {"add": [], "list": [], "delete": []}
    for _ in range(rounds):
        storage = MemoryStorage()
        operations: dict[str, Callable[[int, int], Awaitable[object]]] = {
            "add": lambda user, sku, s=storage: s.add(user, Item(sku, 1), MAX_COUNT, MAX_LINES),  # type: ignore[misc]
            "list": lambda user, _sku, s=storage: s.cart(user),  # type: ignore[misc]
            "delete": lambda user, sku, s=storage: s.delete(user, sku),  # type: ignore[misc]
        }
        for name, operation in operations.items():
            started = time.process_time()
            for user in range(1, users + 1):
                for sku in range(1, LINES + 1):
                    await operation(user, sku)
            costs[name].append((time.process_time() - started) / (users * LINES) * 1e6)
    print(f"in-memory cart, {rounds} rounds of {users} users with {LINES} lines each; CPU")
    for name, values in costs.items():
        print(f"  {name:8} {statistics.median(values):6.2f} µs  ({min(values):.2f} to {max(values):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cart_storage")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--users", type=int, default=2000)
    arguments = parser.parse_args()
    uvloop.run(measure(arguments.rounds, arguments.users))


if __name__ == "__main__":
    main()
