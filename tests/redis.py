"""Redis servers on free ports, which keep nothing on a disk."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.marketplace import free_ports
from tests.processes import ServerProcess
from tests.waiting import wait_until

PROGRAM = shutil.which("redis-server")


class RedisServer(ServerProcess):
    """A Redis, which has forgotten everything when it is started again."""

    def __init__(self) -> None:
        [self._port] = free_ports(1)
        self.url = f"redis://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        assert PROGRAM is not None
        command = [PROGRAM, "--bind", "127.0.0.1", "--port", str(self._port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "Redis does not start"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100) == b"+PONG\r\n"
        return False


@contextmanager
def running_redis(count: int) -> Iterator[list[RedisServer]]:
    """So many servers, which end with the block."""
    if PROGRAM is None:
        pytest.skip("there is no Redis: `make setup-stack` installs it")
    with ExitStack() as stack:
        servers = []
        for _ in range(count):
            servers.append(RedisServer())
            stack.callback(servers[-1].kill)
        yield servers
