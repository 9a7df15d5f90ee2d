"""The embedded PostgreSQL: what is committed stays, and the server goes with its owner."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from anyio.from_thread import start_blocking_portal

from services.chassis.settings import StartError
from services.embedded_postgres import DATABASES, Embedded, embedded_postgres
from tests.marketplace import ROOT, free_ports
from tests.postgres import session
from tests.processes import as_root, children, is_alive

quick = partial(embedded_postgres, durable=False, databases=())

NOBODY, OTHER = pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("daemon").pw_uid
SECONDS = 20
OWNER = """
import asyncio, concurrent.futures.thread, os, pathlib, sys  # all of it, while Python can still be read
from services.embedded_postgres import embedded_postgres

async def own(folder, port):
    async with embedded_postgres(pathlib.Path(folder), int(port)) as embedded:
        print(embedded.pid, os.geteuid(), flush=True)
        await asyncio.Event().wait()

if sys.argv[3:]:
    os.setgroups([])
    os.setgid(int(sys.argv[3]))
    os.setuid(int(sys.argv[3]))
asyncio.run(own(*sys.argv[1:3]))
"""


@contextmanager
def temporary() -> Iterator[Path]:
    """A folder that everybody may enter."""
    parent = Path(tempfile.mkdtemp(prefix="embedded-"))  # not tmp_path, where only root may enter
    parent.chmod(0o755)
    yield parent
    shutil.rmtree(parent)


@pytest.fixture
def new_folder() -> Iterator[Path]:
    """A folder that is not there yet."""
    with temporary() as parent:
        yield parent / "data" / "postgres"


@pytest.fixture(scope="module")
def used() -> Iterator[Path]:
    """What a server that has run leaves."""

    async def run(folder: Path) -> None:
        async with quick(folder, *free_ports(1)):
            pass

    with temporary() as parent, start_blocking_portal() as portal:
        portal.call(run, parent / "data" / "postgres")
        yield parent / "data"


@pytest.fixture
def folder(new_folder: Path, used: Path) -> Path:
    """The folder of a server that has run before, as to make its data takes longer than to start it."""
    subprocess.run(["cp", "-a", used, new_folder.parent], check=True)
    return new_folder


@pytest.fixture
def port() -> int:
    [port] = free_ports(1)
    return port


@asynccontextmanager
async def owner(folder: Path, port: int, *user: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, int]]:
    """Another process that runs the server; with the pid of the server and the user of the process."""
    arguments = ("-c", OWNER, str(folder), str(port), *user)
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    try:
        server, uid = map(int, (await process.stdout.readline()).split())
        yield process, server, uid
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    await ended(server)


async def ask(url: str, query: str) -> object:
    async with session(url) as connection:
        return await connection.fetchval(query)


async def note(embedded: Embedded, text: str) -> None:
    url = embedded.databases["loms"].direct_url
    await ask(url, "CREATE TABLE IF NOT EXISTS notes (text text)")
    await ask(url, f"INSERT INTO notes VALUES ('{text}')")


async def notes(embedded: Embedded) -> object:
    return await ask(embedded.databases["loms"].direct_url, "SELECT string_agg(text, ', ') FROM notes")


async def ended(pid: int) -> None:
    """Waits until the process is gone."""
    async with asyncio.timeout(SECONDS):
        while is_alive(pid):
            await asyncio.sleep(0.01)


async def test_data_outlive_a_restart(folder: Path, port: int) -> None:
    async with embedded_postgres(folder, port) as embedded:
        await note(embedded, "kept")
    assert not is_alive(embedded.pid)

    async with embedded_postgres(folder, port) as again:
        assert await notes(again) == "kept"
        assert again.databases == embedded.databases


async def test_data_outlive_a_kill_of_the_server(folder: Path, port: int) -> None:
    for text in ("one", "two"):
        async with embedded_postgres(folder, port) as embedded:
            await note(embedded, text)
            os.kill(embedded.pid, signal.SIGKILL)

    async with embedded_postgres(folder, port) as embedded:
        assert await notes(embedded) == "one, two"
        assert await ask(embedded.admin_url, "SHOW fsync") == "on"


async def test_a_server_ends_with_its_killed_owner_and_the_next_has_its_data(folder: Path, port: int) -> None:
    async with owner(folder, port) as (process, server, _):
        process.kill()
        await ended(server)

    async with embedded_postgres(folder, port) as embedded:
        assert await ask(embedded.databases["cart"].url, "SELECT current_user") == "cart_app"


async def test_a_server_that_is_left_without_an_owner_makes_way_for_the_next(folder: Path, port: int) -> None:
    async with owner(folder, port) as (process, server, _):
        kill_children(process.pid, but=server)
        process.kill()
        await process.wait()
        assert is_alive(server)

        async with embedded_postgres(folder, port) as embedded:
            assert not is_alive(server)
            assert is_alive(embedded.pid)


def kill_children(parent: int, but: int) -> None:
    """What would have stopped the server."""
    [stopper] = children(parent) - {but}
    os.kill(stopper, signal.SIGKILL)


async def test_the_pid_of_a_killed_server_may_be_that_of_another_process_now(folder: Path, port: int) -> None:
    async with quick(folder, port) as embedded:
        pid_file = folder / "data" / "postmaster.pid"
        left = pid_file.read_text().replace(str(embedded.pid), str(os.getpid()))
    pid_file.write_text(left)
    os.chown(pid_file, folder.stat().st_uid, -1)

    async with quick(folder, port) as embedded:
        assert is_alive(embedded.pid)


async def test_a_folder_is_for_one_process_at_a_time(folder: Path, port: int) -> None:
    async with quick(folder, port) as embedded:
        with pytest.raises(StartError, match=f"^the PostgreSQL of {folder} is in use: "):
            async with quick(folder, *free_ports(1)):
                pass
        assert await ask(embedded.admin_url, "SELECT 1") == 1


async def test_a_taken_port_is_told_with_the_setting(folder: Path, port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(StartError, match=f"^127.0.0.1:{port} is taken or not ours: .* set SHOP_PORT$"),
    ):
        async with quick(folder, port, port_setting="SHOP_PORT"):
            pass

    async with quick(folder, port):
        pass


async def test_a_start_that_fails_is_told_with_its_cause(folder: Path, port: int) -> None:
    with pytest.raises(StartError, match=r"does not start, .*shared_buffers") as raised:
        async with quick(folder, port, shared_buffers="much"):
            pass
    assert "\n" not in str(raised.value)


async def test_a_start_that_was_cut_off_is_made_up_for_by_the_next(new_folder: Path, port: int) -> None:
    start = asyncio.create_task(quick(new_folder, port).__aenter__())
    while not list(new_folder.glob("new-*/*")):
        await asyncio.sleep(0.01)
    start.cancel()
    await asyncio.wait([start])
    assert not (new_folder / "data").exists()

    async with quick(new_folder, port) as embedded:
        assert await ask(embedded.admin_url, "SELECT 1") == 1
    assert not list(new_folder.glob("new-*"))


async def test_a_password_that_is_lost_is_told(folder: Path, port: int) -> None:
    password = folder / "password"
    async with quick(folder, port):
        kept = password.read_text()

    for lose in (password.unlink, lambda: password.write_text("other")):
        lose()
        with pytest.raises(StartError, match="password does not hold the password any more"):
            async with quick(folder, port):
                pass

    password.write_text(kept)
    async with quick(folder, port):
        pass


async def test_every_database_is_its_owners_and_lets_in_nobody_but_its_two_roles(folder: Path, port: int) -> None:
    async with quick(folder, port, databases=DATABASES) as embedded:
        for name, database in embedded.databases.items():
            assert await ask(database.direct_url, "SELECT current_user") == f"{name}_owner"
            assert await ask(database.url, "SELECT current_user") == f"{name}_app"
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await ask(database.url, "CREATE TABLE t (id integer)")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await ask(database.url, "CREATE TEMPORARY TABLE t (id integer)")
            for other in set(DATABASES) - {name}:
                for url in (database.url, database.direct_url):
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await ask(urlsplit(url)._replace(path=f"/{other}").geturl(), "SELECT 1")


async def test_nobody_comes_in_without_the_right_password(folder: Path, port: int) -> None:
    async with quick(folder, port, databases=DATABASES) as embedded:
        urls = [embedded.admin_url, *(url for d in embedded.databases.values() for url in (d.direct_url, d.url))]
        passwords = {urlsplit(url).password for url in urls}
        assert len(passwords) == len(urls) == 1 + 2 * len(DATABASES)
        for url in urls:
            parts = urlsplit(url)
            wrong = parts._replace(netloc=f"{parts.username}:wrong@{parts.hostname}:{parts.port}").geturl()
            with pytest.raises(asyncpg.InvalidPasswordError):
                await ask(wrong, "SELECT 1")
        assert not any(str(password) in repr(embedded) for password in passwords)
        assert not any(str(password) in (folder / "log").read_text() for password in passwords)

    assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_server_that_is_not_durable_is_fast_and_takes_settings(folder: Path, port: int) -> None:
    async with quick(folder, port, synchronous_commit="on") as embedded:
        assert await ask(embedded.admin_url, "SHOW fsync") == "off"
        assert await ask(embedded.admin_url, "SHOW synchronous_commit") == "on"
        assert embedded.databases == {}


@as_root
async def test_for_root_the_server_runs_as_nobody(new_folder: Path, port: int) -> None:
    async with quick(new_folder, port) as embedded:
        assert Path(f"/proc/{embedded.pid}").stat().st_uid == NOBODY


@as_root
async def test_for_root_the_server_runs_as_whoever_owns_the_folder(new_folder: Path, port: int) -> None:
    os.chown(new_folder.parent.parent, OTHER, -1)

    async with quick(new_folder, port) as embedded:
        assert Path(f"/proc/{embedded.pid}").stat().st_uid == OTHER


@as_root
async def test_a_user_other_than_root_runs_the_server_himself_also_after_root(new_folder: Path, port: int) -> None:
    os.chown(new_folder.parent.parent, NOBODY, -1)
    async with owner(new_folder, port, str(NOBODY)) as (process, server, uid):
        assert uid == Path(f"/proc/{server}").stat().st_uid == NOBODY
        process.kill()
        await ended(server)

    async with quick(new_folder, port) as embedded:
        assert Path(f"/proc/{embedded.pid}").stat().st_uid == NOBODY
    async with owner(new_folder, port, str(NOBODY)) as (_, server, _):
        assert is_alive(server)


@as_root
async def test_a_folder_where_only_root_may_enter_is_refused(new_folder: Path, port: int) -> None:
    new_folder.parent.parent.chmod(0o700)

    with pytest.raises(StartError, match=f"nobody else may enter {new_folder}"):
        async with quick(new_folder, port):
            pass
