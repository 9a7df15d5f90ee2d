"""The marketplace as users start it: its own process with the gateway beside it, on free ports."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent
GATEWAY = ROOT / "bin" / "gateway"
SERVICES = tuple(sorted(folder.name for folder in (ROOT / "api" / "marketplace").iterdir()))
START_SECONDS = 20
STOP_SECONDS = 3
UNLIMITED = 1_000_000
"""A rate that no test reaches."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now and that no other test process gives away."""
    _, ports = _own_block()
    return list(islice(filter(_is_free, ports), count))


@cache
def _own_block() -> tuple[socket.socket, Iterator[int]]:
    """The ports of this process."""
    return block_of_ports()


def block_of_ports() -> tuple[socket.socket, Iterator[int]]:
    """Ports that nobody else gets, below those that the system gives away, and the lock on them: one more, taken."""
    starts = range(10_000, 32_000, 100)
    for first in random.sample(starts, len(starts)):
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", first)), cycle(range(first + 1, first + starts.step))
    raise AssertionError("every block of ports is taken")


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def environment_on_free_ports() -> dict[str, str]:
    """Settings that give every part of the marketplace a free port, and have nobody wait for a turn."""
    ports = iter(free_ports(2 * len(SERVICES) + 2))
    settings = {}
    for service in map(str.upper, SERVICES):
        settings[f"{service}_LISTEN"] = f"127.0.0.1:{next(ports)}"
        settings[f"{service}_SIDE_LISTEN"] = f"127.0.0.1:{next(ports)}"
        settings[f"GATEWAY_{service}_ADDRESS"] = settings[f"{service}_LISTEN"]
    settings["CART_LOMS_ADDRESS"] = settings["LOMS_LISTEN"]
    settings["CART_PRODUCT_ADDRESS"] = settings["PRODUCT_LISTEN"]
    settings["CART_PRODUCT_RATE_LIMIT"] = str(UNLIMITED)
    settings["GATEWAY_LISTEN"] = f"127.0.0.1:{next(ports)}"
    settings["GATEWAY_SIDE_LISTEN"] = f"127.0.0.1:{next(ports)}"
    return settings


@dataclass(frozen=True)
class Program:
    """A started process, with all that it starts itself."""

    process: subprocess.Popen[str]
    settings: dict[str, str]
    log: Path

    @property
    def url(self) -> str:
        """Where its gateway answers."""
        return f"http://{self.settings['GATEWAY_LISTEN']}"

    def answer(self, url: str, status: int = 200) -> httpx.Response:
        """Waits until it answers with this status."""
        end = time.monotonic() + START_SECONDS
        with httpx.Client(trust_env=False) as client:
            while self.process.poll() is None and time.monotonic() < end:
                with suppress(httpx.TransportError):
                    answer = client.get(url)
                    if answer.status_code == status:
                        return answer
                time.sleep(0.05)
        self.kill()
        raise AssertionError(f"{url} does not answer {status}:\n{self.log.read_text()}")

    def exit_code(self, within: float = STOP_SECONDS) -> int:
        """The exit code, as soon as all processes are gone; what was on standard error is in the log then."""
        _, errors = self.process.communicate(timeout=within)  # each of them holds standard error open
        with self.log.open("a") as log:
            log.write(errors)
        return self.process.returncode

    def kill(self) -> None:
        """Ends what is left of it."""
        if self.process.stderr and not self.process.stderr.closed:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.exit_code()


@contextmanager
def started(log: Path, *command: str | Path, **settings: str) -> Iterator[Program]:
    """Starts a program; kills what is left of it at the end."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    program = Program(process, settings, log)
    try:
        yield program
    finally:
        program.kill()


@contextmanager
def started_marketplace(log: Path, gateway: Path = GATEWAY, /, **more: str) -> Iterator[Program]:
    """Starts the marketplace with `more` settings."""
    settings = environment_on_free_ports() | more
    with started(log, sys.executable, "-m", "services", "--gateway", gateway, **settings) as marketplace:
        yield marketplace


@contextmanager
def healthy_marketplace(log: Path, gateway: Path = GATEWAY, /, **more: str) -> Iterator[Program]:
    """Starts the marketplace with `more` settings and waits until it is healthy."""
    with started_marketplace(log, gateway, **more) as marketplace:
        marketplace.answer(f"{marketplace.url}/healthz")
        yield marketplace
