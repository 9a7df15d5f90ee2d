"""The processes that tests start and look at."""

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

STAT = re.compile(r"\d+ \(.*\) (?P<state>\w) (?P<parent>\d+)", re.DOTALL)
ENDED = "ZX"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes as somebody else")


def parents_of_processes() -> dict[int, int]:
    """The parent of each process that has not ended."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = STAT.match((process / "stat").read_text())
            if stat and stat["state"] not in ENDED:
                parents[int(process.name)] = int(stat["parent"])
    return parents


def is_alive(pid: int) -> bool:
    """Whether it has not ended."""
    return pid in parents_of_processes()


def children(pid: int) -> set[int]:
    """The processes that it has started and that have not ended."""
    return {child for child, parent in parents_of_processes().items() if parent == pid}


class ServerProcess:
    """A started server."""

    _process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Lets it hang until it is resumed."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)
