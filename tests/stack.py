"""Stacks without containers, each a runner with its processes, on free ports."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from compose.native import processes
from compose.secrets import make_secrets
from compose.stack import FILE, PORTS, read_env, read_stack
from services.token import FOLDER, Signer, signer
from tests.marketplace import ROOT, Program, block_of_ports, started
from tests.processes import parents_of_processes
from tests.waiting import wait_until

ACCESS = ROOT / FOLDER
READY = "Ctrl-C stops them all"
START_SECONDS, STOP_SECONDS = 120, 60
REPLICATED = ("CART_PORT", "LOMS_PORT", "NOTIFIER_PORT")
REPLICAS = (10, 30)
"""Three of them begin within so many ports, and end within so many."""
BLOCK = 99


@dataclass(frozen=True)
class Runner:
    """A runner with all that it has started."""

    program: Program

    @property
    def log(self) -> str:
        """What all of them have said so far."""
        return self.program.log.read_text(errors="backslashreplace")

    def told(self, text: str, seconds: float = 20) -> str:
        """Waits until somebody has said this; gives all that was said."""
        wait_until(lambda: text in self.log or self.program.process.poll() is not None, seconds)
        assert text in self.log, self.log
        return self.log

    def processes(self) -> set[int]:
        """What runs below it now."""
        parents = parents_of_processes()
        below = {self.program.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in below} - below:
            below |= more
        return below - {self.program.process.pid}

    def stop(self, number: signal.Signals = signal.SIGINT, seconds: float = 20) -> int:
        """Has it stop; gives the exit code, as soon as nothing of it is left."""
        processes = self.processes()
        self.program.process.send_signal(number)
        code = self.program.exit_code(seconds)
        assert processes & parents_of_processes().keys() == set(), self.log
        return code


@contextmanager
def running(file: Path, log: Path, **settings: str) -> Iterator[Runner]:
    """Runs the stack of a file with these settings in its environment; kills what is left of it at the end."""
    command = (sys.executable, "-m", "compose.run", "--file", file)
    with started(log, *command, **settings) as program:
        runner = Runner(program)
        try:
            yield runner
        finally:
            left = runner.processes()
            for pid in (program.process.pid, *left):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not left & parents_of_processes().keys())


@dataclass(frozen=True)
class Stack:
    """The whole stack, and where its parts are."""

    runner: Runner
    ports: dict[str, str]
    signs: Signer

    def url(self, name: str) -> str:
        """Where a part answers over HTTP."""
        return f"http://127.0.0.1:{self.ports[f'{name}_PORT']}"

    def headers(self, user: int) -> dict[str, str]:
        """What goes with the requests of a user."""
        return {"authorization": f"Bearer {self.signs.of_user(user)}"}


@contextmanager
def whole_stack() -> Iterator[Stack]:
    """The whole stack, when it is ready. What is left of it at the end is killed."""
    with ports_of_stack() as ports, tempfile.TemporaryDirectory(prefix="stack-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the servers that refuse root enter it as nobody
        make_secrets(folder / "secrets.env", ACCESS)
        settings = {"STACK_FOLDER": name, **ports, **read_env(folder / "secrets.env")}
        skip_without_servers(settings)
        with running(FILE, folder / "log", **settings) as runner:
            runner.told(READY, START_SECONDS)
            yield Stack(runner, ports, signer(ACCESS))


def skip_without_servers(settings: Mapping[str, str]) -> None:
    members = processes(read_stack(environment=settings), Path(), os.environ)
    if missing := {need for member in members for need in member.missing(ROOT)}:
        pytest.skip(f"there is no {', '.join(sorted(missing))}: `make setup-stack` installs it")


@contextmanager
def ports_of_stack() -> Iterator[dict[str, str]]:
    """A free port for each variable of .env, with those of replicas free, too.

    Prometheus takes whoever listens ten, twenty … ninety ports above a side port for a replica: side ports have a block
    of their own.
    """
    side_lock, side = block_of_ports()
    lock, block = block_of_ports()
    with side_lock, lock:
        ports = list(islice(block, BLOCK))
        replicated, others = iter(ports[: REPLICAS[0]]), iter(ports[REPLICAS[1] :])

        def port_of(name: str) -> int:
            if name.endswith("_SIDE_PORT"):
                return next(side)
            return next(replicated if name in REPLICATED else others)

        yield {name: str(port_of(name)) for name in read_env(PORTS)}
