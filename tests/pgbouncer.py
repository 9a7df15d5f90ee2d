"""A PgBouncer on a free port in front of a PostgreSQL server."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.marketplace import ROOT, free_ports
from tests.processes import ServerProcess
from tests.waiting import wait_until

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
COMMON = ROOT / "compose" / "pgbouncer" / "pgbouncer.ini"
OWN = """
[databases]
* = host={host} port={port}
[pgbouncer]
%include {folder}/common.ini
listen_addr = 127.0.0.1
listen_port = {listen_port}
auth_file = {folder}/users
{more}
"""


class PgBouncer(ServerProcess):
    """A pooler of every database of a server, for the user of a DSN of that server."""

    def __init__(self, dsn: str, folder: Path, more: str) -> None:
        self._server = urlsplit(dsn)
        self._folder = folder
        self._root: dict[str, Any] = {}
        [self._port] = free_ports(1)
        shutil.copy(COMMON, folder / "common.ini")
        (folder / "users").write_text(f'"{self._server.username}" "{self._server.password}"\n')
        own = OWN.format(
            folder=folder, host=self._server.hostname, port=self._server.port, listen_port=self._port, more=more
        )
        (folder / "pgbouncer.ini").write_text(own)
        if os.geteuid() == 0:  # it does not run as root
            nobody = pwd.getpwnam("nobody")
            self._root = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for path in (folder, *folder.iterdir()):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        assert PROGRAM is not None
        command = [PROGRAM, "--quiet", str(self._folder / "pgbouncer.ini")]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **self._root)
        wait_until(self._listens)

    def _listens(self) -> bool:
        assert self._process.poll() is None, "PgBouncer does not start"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def url(self, dsn: str) -> str:
        """A DSN of the server, through the pooler."""
        user, _, _ = urlsplit(dsn).netloc.rpartition("@")
        return urlsplit(dsn)._replace(netloc=f"{user}@127.0.0.1:{self._port}").geturl()


@contextmanager
def running_pgbouncer(dsn: str, more: str = "stats_users = postgres") -> Iterator[PgBouncer]:
    """A PgBouncer with the settings of the marketplace and `more`, in front of the server of a DSN."""
    skip_without_pgbouncer()
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    pgbouncer = PgBouncer(dsn, folder, more)
    try:
        yield pgbouncer
    finally:
        pgbouncer.kill()
        shutil.rmtree(folder)


def skip_without_pgbouncer() -> None:
    if PROGRAM is None:
        pytest.skip("there is no PgBouncer: `make setup-stack` installs it")
