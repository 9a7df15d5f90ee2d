"""A PostgreSQL server with a synchronous replica, both on free ports."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio

from tests.marketplace import free_ports
from tests.postgres import running_postgres, session
from tests.waiting import until, wait_until

NAME = "replica"
LATE_MS = 5
"""So late does it apply a commit, as a busy one does: whoever does not wait for that reads what was before."""
IS_AWAITED = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')"
AWAITED = f"synchronous_standby_names = 'FIRST 1 ({NAME})'"


class Replica:
    """The copy of a running server that applies each of its commits."""

    def __init__(self, primary: str, folder: Path, server: "Server") -> None:
        self._data = folder / "data"
        self._server = server
        [self._port] = free_ports(1)
        address = urlsplit(primary)
        source = f"host={address.hostname} port={address.port} user={address.username} password={address.password}"
        copy = ["--pgdata", str(self._data), "--wal-method=stream", "--checkpoint=fast", "--no-sync"]
        copy += ["--write-recovery-conf", "--create-slot", f"--slot={NAME}"]
        server.run("pg_basebackup", *copy, "--dbname", f"{source} application_name={NAME}")
        self.start()

    def url(self, dsn: str) -> str:
        """A DSN of the primary, on the replica."""
        user, _, _ = urlsplit(dsn).netloc.rpartition("@")
        return urlsplit(dsn)._replace(netloc=f"{user}@127.0.0.1:{self._port}").geturl()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        options = ["-c", f"port={self._port}", "-c", "fsync=off", "-c", f"recovery_min_apply_delay={LATE_MS}"]
        self._process = self._server.start("postgres", "-D", str(self._data), *options)
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the replica does not start"
        state = self._data / "postmaster.pid"
        return state.exists() and state.read_text().rstrip().endswith("ready")

    def stop(self) -> None:
        """Ends it at once."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()


class Server:
    """The programs of a running server, and the user that it runs as."""

    def __init__(self, pid: int) -> None:
        process = Path(f"/proc/{pid}")
        self._programs = (process / "exe").resolve().parent
        self._user: dict[str, Any] = {}
        owner = process.stat()
        if os.geteuid() != owner.st_uid:
            self._user = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        if self._user:
            os.chown(path, self._user["user"], self._user["group"])

    def start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._programs / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._user,
        )

    def run(self, program: str, *arguments: str) -> None:
        assert self.start(program, *arguments).wait() == 0, f"{program} fails"


@contextmanager
def running_replicated(synchronous_commit: str = "remote_apply") -> Iterator[tuple[str, Replica]]:
    """A server whose commits wait for its replica: the DSN of its first database, and the replica."""
    with running_postgres(synchronous_commit=synchronous_commit) as dsn:
        folder = Path(tempfile.mkdtemp(prefix="replica-"))
        try:
            server = Server(anyio.run(pid_of, dsn))
            server.give(folder)
            replica = Replica(dsn, folder, server)
            try:
                anyio.run(await_replica, dsn)
                yield dsn, replica
            finally:
                replica.stop()
        finally:
            shutil.rmtree(folder)


async def pid_of(dsn: str) -> int:
    """The first process of the server."""
    async with session(dsn) as connection:
        folder = Path(await connection.fetchval("SHOW data_directory"))
    return int((folder / "postmaster.pid").read_text().split()[0])


async def await_replica(dsn: str) -> None:
    """Says in postgresql.conf that commits wait for the replica, and waits until they do."""
    async with session(dsn) as connection:
        settings = Path(await connection.fetchval("SHOW config_file"))
        settings.write_text(f"{settings.read_text()}\n{AWAITED}\n")
        await connection.execute("SELECT pg_reload_conf()")

        async def is_awaited() -> bool:
            found: bool = await connection.fetchval(IS_AWAITED)
            return found

        await until(is_awaited)
    async with session(dsn) as connection:
        await connection.execute("CHECKPOINT")  # after which the others have been told
