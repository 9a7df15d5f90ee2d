"""Each process of the stack is killed, one after another, while orders come."""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.load import Load
from tests.processes import children
from tests.waiting import until

HEAL_SECONDS = 30
"""Within so many seconds the stack is healthy again by itself."""
GIVE_UP_SECONDS = 3 * HEAL_SECONDS
ORDERS_BETWEEN = 60
"""So many orders go well between two kills."""

READY = re.compile(r"^(?:\[ *\d+/\d+\] )?(?P<name>\S+) is ready .*\(process (?P<pid>\d+)\)$", re.MULTILINE)
WRAPPED = ("prometheus", "jaeger")
"""Who are two processes: one that starts and watches, and the server."""


@dataclass(frozen=True)
class Killed:
    """What came of a kill."""

    name: str
    healthy_after: float
    """Seconds until it was ready again, and an order that was asked for later was acknowledged."""
    longest_order: float
    """Seconds that a caller waited for an order meanwhile, at most."""
    retried: Counter[str]
    """Why callers asked again meanwhile."""

    @property
    def is_kept(self) -> bool:
        return self.healthy_after <= HEAL_SECONDS


class Processes:
    """The processes that have been ready, as the log of the runner tells them."""

    def __init__(self, log: Path) -> None:
        self._log = log.open(errors="replace")
        self._pids: dict[str, int] = {}

    def pids(self) -> dict[str, int]:
        """The last one of each name."""
        for found in READY.finditer(self._log.read()):
            self._pids[found["name"]] = int(found["pid"])
        return self._pids


async def kill_each(processes: Processes, load: Load, tell: Callable[[Killed], None]) -> list[Killed]:
    """Kills each process that serves in turn, and the next one when everything is well again."""
    killed = []
    for name in [*processes.pids()]:
        killed.append(await kill(name, name, lambda pid: pid, processes, load))
        tell(killed[-1])
    for name in WRAPPED:
        killed.append(await kill(name, f"{name}: its server", child, processes, load))
        tell(killed[-1])
    return killed


async def kill(name: str, told: str, which: Callable[[int], int], processes: Processes, load: Load) -> Killed:
    """Kills one of the processes behind a name, and waits until everything is well again, and some orders more."""
    before = len(load.acknowledged)
    retried = load.retried.copy()
    pid = processes.pids()[name]
    killed_at = time.monotonic()
    os.kill(which(pid), signal.SIGKILL)

    async def is_back() -> bool:
        return processes.pids()[name] != pid

    await until(is_back, GIVE_UP_SECONDS)
    back_at = time.monotonic()

    async def is_acknowledged() -> bool:
        return any(order.asked_at > back_at for order in load.acknowledged[before:])

    await until(is_acknowledged, GIVE_UP_SECONDS)
    healthy_after = time.monotonic() - killed_at
    enough = len(load.acknowledged) + ORDERS_BETWEEN

    async def are_enough() -> bool:
        return len(load.acknowledged) >= enough and load.waiting_since(killed_at + healthy_after) == 0

    await until(are_enough, GIVE_UP_SECONDS)
    longest = max(order.took for order in load.acknowledged[before:])
    return Killed(told, healthy_after, longest, load.retried - retried)


def child(pid: int) -> int:
    """The only process that it has started."""
    [found] = children(pid)
    return found
