"""The programs that are measured: started, asked for their CPU time, stopped. Needs Linux for that time."""

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


def free_address() -> str:
    """An address on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


def start(command: Sequence[str], settings: Mapping[str, str], stdout: int | IO[str]) -> subprocess.Popen[str]:
    """Starts a program in the folder of the project, with settings added to the environment."""
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=stdout, text=True)


def stop(programs: Sequence["subprocess.Popen[str]"]) -> None:
    """Ends them, all at once, and waits for it."""
    for program in programs:
        program.terminate()
    for program in programs:
        program.wait()


def cpu_seconds(pid: int) -> float:
    """User + system of a process so far."""
    user, system, _, _ = _times(pid)
    return user + system


def cpu_seconds_of_family(pid: int) -> float:
    """User + system so far of a process and its children, those that have ended included."""
    children = _children(pid)
    seconds = sum(_times(pid)) + sum(map(_cpu_seconds_if_alive, children))
    if _children(pid) != children:  # it would be missed or counted twice
        return cpu_seconds_of_family(pid)
    return seconds


def _cpu_seconds_if_alive(pid: int) -> float:
    try:
        return cpu_seconds(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _times(pid: int) -> tuple[float, float, float, float]:
    """User and system of a process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, children_user, children_system = (int(field) / TICKS for field in fields[11:15])
    return user, system, children_user, children_system


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
