"""Migrations: each is applied once and as a whole, whatever happens to those who apply it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from services.chassis.migrations import Waits, create, migrate
from services.chassis.settings import StartError
from services.migrate import DATABASES
from tests.marketplace import ROOT
from tests.postgres import create_database, drop_database, session
from tests.storage.races import part

VARIABLE = "SHOP_DATABASE_DIRECT_URL"
PASSWORD = "s3cr3t-canary"
PATIENT = Waits()
SOON = Waits(turn_seconds=0.1, lock_seconds=0.1)

REPLICAS, KILLS = 8, 10
PAUSES = 3
REPLICA = """
import asyncio, pathlib, sys
from services.chassis.migrations import migrate
asyncio.run(migrate(sys.argv[1], "-", pathlib.Path(sys.argv[2])))
"""


@dataclass(frozen=True)
class Shop:
    """A database with an owner and a role for the application, and the folder of its migrations."""

    owner_url: str
    application_url: str
    folder: Path

    def add(self, name: str, sql: str) -> None:
        (self.folder / name).write_text(sql)

    async def migrate(self, waits: Waits = PATIENT) -> list[str]:
        return await migrate(self.owner_url, VARIABLE, self.folder, role(self.application_url), waits)

    async def refusal(self, waits: Waits = PATIENT) -> str:
        """Why it does not migrate: one line, without secrets."""
        with pytest.raises(StartError) as raised:
            await self.migrate(waits)
        told = str(raised.value)
        assert "\n" not in told
        assert PASSWORD not in told
        return told

    async def names(self, query: str) -> list[str]:
        async with session(self.owner_url) as owner:
            return [row[0] for row in await owner.fetch(query)]

    async def tables(self) -> list[str]:
        return await self.names("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")

    async def applied(self) -> list[str]:
        return await self.names("SELECT name FROM schema_migrations ORDER BY name")


def role(url: str) -> str:
    name = urlsplit(url).username
    assert name
    return name


def as_role(url: str, name: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{name}:{PASSWORD}@{parts.hostname}:{parts.port}").geturl()


@pytest.fixture
async def shop(server: str, tmp_path: Path) -> AsyncIterator[Shop]:
    database = await create_database(server)
    name = urlsplit(database).path.removeprefix("/")
    owner, application = f"{name}_owner", f"{name}_app"
    async with session(server) as admin:
        for made in (owner, application):
            await admin.execute(f"CREATE ROLE {made} LOGIN PASSWORD '{PASSWORD}'")
        await admin.execute(f"ALTER DATABASE {name} OWNER TO {owner}")
    yield Shop(as_role(database, owner), as_role(database, application), tmp_path)
    await drop_database(database)
    async with session(server) as admin:
        await admin.execute(f"DROP ROLE {owner}, {application}")


@pytest.fixture
def goods(shop: Shop) -> Shop:
    """A shop with a first migration."""
    shop.add("0001_goods.sql", "CREATE TABLE goods (sku bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);")
    return shop


async def test_a_migration_is_applied_once(goods: Shop) -> None:
    assert await goods.migrate() == ["0001_goods.sql"]
    assert await goods.migrate() == []
    goods.add("0002_prices.sql", "CREATE TABLE prices (sku bigint REFERENCES goods);")

    assert await goods.migrate() == ["0002_prices.sql"]
    assert await goods.applied() == ["0001_goods.sql", "0002_prices.sql"]
    assert await goods.tables() == ["goods", "prices", "schema_migrations"]


@pytest.mark.parametrize("service", DATABASES)
async def test_the_migrations_of_a_service_are_applied_and_leave_its_role_the_rows(service: str, shop: Shop) -> None:
    folder = ROOT / "sql" / service / "migrations"

    assert await migrate(shop.owner_url, VARIABLE, folder, role(shop.application_url))
    async with session(shop.application_url) as application:
        for table in await shop.tables():
            await application.execute(f"SELECT FROM {table}")


async def test_of_replicas_that_start_at_once_one_applies_and_all_go_on_when_it_is_done(goods: Shop) -> None:
    goods.add("0002_prices.sql", "SELECT pg_sleep(0.2); CREATE TABLE prices (sku bigint);")

    applied = await asyncio.gather(*(goods.migrate() for _ in range(REPLICAS)))

    assert sorted(applied) == [[]] * (REPLICAS - 1) + [["0001_goods.sql", "0002_prices.sql"]]


async def test_replicas_that_are_killed_at_it_leave_nothing_in_the_way_of_the_next(goods: Shop) -> None:
    kills = max(PAUSES, part(KILLS))
    pauses = [f"SELECT pg_sleep(seconds) FROM pauses WHERE id = {number};" for number in range(PAUSES)]
    goods.add("0002_prices.sql", f"{pauses[0]} CREATE TABLE prices (sku bigint); {pauses[1]}")
    goods.add("0003_offers.sql", f"CREATE TABLE offers (sku bigint); {pauses[2]}")
    async with session(goods.owner_url) as owner:
        await owner.execute("CREATE TABLE pauses (id integer, seconds integer)")
        await owner.execute("INSERT INTO pauses SELECT id, 0 FROM generate_series(0, $1 - 1) id", PAUSES)
        for kill in range(kills):
            await owner.execute(
                "UPDATE pauses SET seconds = CASE id WHEN $1 THEN 3600 ELSE 0 END", kill * PAUSES // kills
            )
            await kill_a_replica_that_sleeps(goods, owner)
        await owner.execute("UPDATE pauses SET seconds = 0")

    assert await goods.migrate() == ["0003_offers.sql"]
    assert await goods.applied() == ["0001_goods.sql", "0002_prices.sql", "0003_offers.sql"]


async def kill_a_replica_that_sleeps(shop: Shop, owner: asyncpg.Connection) -> None:
    replica = await asyncio.create_subprocess_exec(sys.executable, "-c", REPLICA, shop.owner_url, shop.folder, cwd=ROOT)
    others = await sleeping(owner)
    while await sleeping(owner) in (None, others):
        assert replica.returncode is None
        await asyncio.sleep(0.01)
    os.kill(replica.pid, signal.SIGKILL)
    await replica.wait()


async def sleeping(owner: asyncpg.Connection) -> int | None:
    """The session of the migration that pauses."""
    query = "SELECT max(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    pid: int | None = await owner.fetchval(query)
    return pid


async def test_a_migration_that_fails_leaves_nothing_and_tells_file_and_cause(goods: Shop) -> None:
    goods.add("0002_prices.sql", "CREATE TABLE prices (sku bigint);")
    goods.add("0003_offers.sql", "CREATE TABLE offers (sku bigint); INSERT INTO goods (nmae) VALUES ('secret row');")

    told = await goods.refusal()

    assert "0003_offers.sql: 42703 " in told
    assert '"nmae"' in told
    assert "secret row" not in told
    assert await goods.applied() == ["0001_goods.sql", "0002_prices.sql"]
    assert await goods.tables() == ["goods", "prices", "schema_migrations"]


async def test_a_migration_that_cannot_be_recorded_is_not_applied(goods: Shop) -> None:
    forbid = "ALTER TABLE schema_migrations ADD CHECK (name <> '0002_prices.sql');"
    goods.add("0002_prices.sql", f"CREATE TABLE prices (sku bigint); {forbid}")

    assert "0002_prices.sql: 23514 " in await goods.refusal()
    assert await goods.tables() == ["goods", "schema_migrations"]


async def test_a_text_without_an_end_is_told_in_one_line(goods: Shop) -> None:
    goods.add("0002_tea.sql", "INSERT INTO goods (name)\nVALUES ('tea\nand so on\n);\n")

    assert "0002_tea.sql: 42601 unterminated quoted string" in await goods.refusal()


async def test_rows_that_a_failure_is_about_are_not_told(goods: Shop) -> None:
    goods.add("0002_names.sql", "INSERT INTO goods (name) VALUES ('secret row'), ('secret row');")
    goods.add("0003_unique.sql", "CREATE UNIQUE INDEX ON goods (name);")

    told = await goods.refusal()

    assert "0003_unique.sql: 23505 " in told
    assert "secret row" not in told


@pytest.mark.parametrize("word", ["BEGIN", "Commit work", "start transaction", "ROLLBACK"])
async def test_a_migration_that_handles_transactions_itself_is_refused(word: str, goods: Shop) -> None:
    goods.add("0002_prices.sql", f"CREATE TABLE prices (sku bigint);\n{word};\n")

    assert f"0002_prices.sql holds {word.split(maxsplit=1)[0].upper()}" in await goods.refusal()


async def test_the_body_of_a_function_may_begin_and_end(goods: Shop) -> None:
    goods.add("0002_f.sql", "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$\nBEGIN\n  NULL;\nEND;\n$$;")

    assert await goods.migrate() == ["0001_goods.sql", "0002_f.sql"]


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(goods: Shop) -> None:
    await goods.migrate()
    goods.add("0001_goods.sql", "CREATE TABLE goods (sku bigint);")
    goods.add("0002_prices.sql", "CREATE TABLE prices (sku bigint);")

    assert "0001_goods.sql was changed after it was applied" in await goods.refusal()
    assert await goods.applied() == ["0001_goods.sql"]


async def test_the_line_ends_of_another_system_are_no_change(goods: Shop) -> None:
    goods.add("0002_prices.sql", "CREATE TABLE prices (\n  sku bigint\n);\n")
    await goods.migrate()
    (goods.folder / "0002_prices.sql").write_bytes(b"CREATE TABLE prices (\r\n  sku bigint\r\n);\r\n")

    assert await goods.migrate() == []


async def test_a_file_that_was_applied_and_is_missing_is_refused(goods: Shop) -> None:
    goods.add("0002_prices.sql", "CREATE TABLE prices (sku bigint);")
    await goods.migrate()
    (goods.folder / "0002_prices.sql").rename(goods.folder / "0002_costs.sql")

    assert "0002_prices.sql was applied and is missing" in await goods.refusal()


async def test_an_older_replica_leaves_the_migrations_of_a_newer_release_alone(goods: Shop) -> None:
    goods.add("0002_prices.sql", "CREATE TABLE prices (sku bigint);")
    await goods.migrate()
    (goods.folder / "0002_prices.sql").unlink()

    assert await goods.migrate() == []
    assert await goods.applied() == ["0001_goods.sql", "0002_prices.sql"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("0003_late.sql", "is where 0002 should be"),
        ("0001_double.sql", "is where 0002 should be"),
        ("0000_early.sql", "is where 0001 should be"),
        ("0002-prices.sql", "is not named like"),
        ("prices.sql", "is not named like"),
        ("00002_prices.sql", "is not named like"),
    ],
)
async def test_a_gap_a_double_and_a_file_without_number_are_refused(name: str, told: str, goods: Shop) -> None:
    goods.add(name, "")

    assert told in await goods.refusal()
    assert await goods.tables() == []


async def test_a_folder_without_migrations_is_refused(shop: Shop) -> None:
    assert "holds no migrations" in await shop.refusal()


async def test_a_migration_does_not_queue_behind_a_lock_for_long(goods: Shop) -> None:
    await goods.migrate()
    goods.add("0002_price.sql", "CREATE TABLE prices (sku bigint); ALTER TABLE goods ADD COLUMN price integer;")
    async with session(goods.owner_url) as reader, reader.transaction():
        await reader.execute("SELECT FROM goods")
        assert "0002_price.sql: 55P03 " in await goods.refusal(SOON)
        assert await goods.tables() == ["goods", "schema_migrations"]

    assert await goods.migrate(SOON) == ["0002_price.sql"]


async def test_nobody_waits_for_others_that_migrate_for_ever(goods: Shop) -> None:
    goods.add("0002_sleep.sql", "SELECT pg_sleep(3600);")
    first = asyncio.create_task(goods.migrate())
    async with session(goods.owner_url) as owner:
        while not await sleeping(owner):
            await asyncio.sleep(0.01)
        assert "waiting for others that migrate: 55P03 " in await goods.refusal(SOON)

    first.cancel()
    await asyncio.wait([first])
    assert "0002_sleep.sql" not in await goods.applied()


async def test_a_server_that_is_lost_on_the_way_is_told(goods: Shop) -> None:
    goods.add("0002_end.sql", "SELECT pg_terminate_backend(pg_backend_pid());")

    assert "0002_end.sql: the database was lost on the way" in await goods.refusal()


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({"netloc": f"nobody:{PASSWORD}@127.0.0.1:1"}, "ConnectionRefusedError"),
        ({"path": "/missing"}, "InvalidCatalogNameError"),
        ({"scheme": "http"}, "ClientConfigurationError"),
        ({"netloc": f"shop:[{PASSWORD}@127.0.0.1:1"}, "ValueError"),
        ({"netloc": f"shop:{PASSWORD}@127.0.0.1:x"}, "ValueError"),
    ],
)
async def test_a_database_that_cannot_be_reached_is_told_with_the_setting(
    wrong: dict[str, str], cause: str, goods: Shop
) -> None:
    url = urlsplit(goods.owner_url)._replace(**wrong).geturl()

    with pytest.raises(StartError) as raised:
        await migrate(url, VARIABLE, goods.folder)

    assert str(raised.value) == f"the database cannot be reached ({cause}): look at {VARIABLE}"


async def test_the_application_reads_and_writes_rows(goods: Shop) -> None:
    await goods.migrate()

    async with session(goods.application_url) as application:
        await application.execute("INSERT INTO goods (name) VALUES ('tea')")
        await application.execute("UPDATE goods SET name = 'coffee'")
        assert await application.fetchval("SELECT name FROM goods") == "coffee"
        assert await application.fetchval("SELECT nextval(pg_get_serial_sequence('goods', 'sku'))") == 2
        await application.execute("DELETE FROM goods")
        assert await application.fetchval("SELECT name FROM schema_migrations") == "0001_goods.sql"


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE goods",
        "TRUNCATE goods",
        "ALTER TABLE goods ADD COLUMN price integer",
        "CREATE TABLE prices (sku bigint)",
        "CREATE INDEX ON goods (name)",
        "CREATE SCHEMA own",
        "SELECT setval(pg_get_serial_sequence('goods', 'sku'), 1)",
        "INSERT INTO schema_migrations (name, checksum) VALUES ('0009_x.sql', '')",
        "UPDATE schema_migrations SET checksum = ''",
        "DELETE FROM schema_migrations",
    ],
)
async def test_the_application_changes_nothing_but_rows(statement: str, goods: Shop) -> None:
    await goods.migrate()

    async with session(goods.application_url) as application:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await application.execute(statement)


async def test_what_the_application_was_given_beside_is_taken_back(goods: Shop) -> None:
    await goods.migrate()
    async with session(goods.owner_url) as owner:
        await owner.execute(f"GRANT ALL ON goods TO {role(goods.application_url)}")
    await goods.migrate()

    async with session(goods.application_url) as application:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await application.execute("TRUNCATE goods")


async def test_an_application_that_is_the_owner_keeps_its_rights(goods: Shop) -> None:
    await migrate(goods.owner_url, VARIABLE, goods.folder, role(goods.owner_url))
    goods.add("0002_prices.sql", "CREATE TABLE prices (sku bigint);")

    assert await migrate(goods.owner_url, VARIABLE, goods.folder, role(goods.owner_url)) == ["0002_prices.sql"]


async def test_a_role_that_is_missing_is_told(goods: Shop) -> None:
    with pytest.raises(StartError, match='what it needs: 42704 role "missing" does not exist'):
        await migrate(goods.owner_url, VARIABLE, goods.folder, "missing")


async def test_the_command_migrates_the_databases_of_its_environment(shop: Shop) -> None:
    urls = {"LOMS_DATABASE_URL": shop.application_url, "LOMS_DATABASE_DIRECT_URL": shop.owner_url}

    assert await command("up", "loms", **urls) == (0, f"loms: {', '.join(files('loms'))}\n", "")
    assert await command("up", "loms", **urls) == (0, "loms: nothing new\n", "")
    assert await shop.applied() == files("loms")
    async with session(shop.application_url) as application:
        assert await application.fetchval("SELECT count(*) FROM orders") == 0


async def test_the_command_names_the_settings_that_it_misses() -> None:
    code, output, errors = await command("up", "cart")

    assert (code, output) == (2, "")
    assert "CART_DATABASE_DIRECT_URL is not set" in errors
    assert "Traceback" not in errors


async def test_the_command_tells_a_url_that_is_none_without_showing_it(shop: Shop) -> None:
    wrong = shop.application_url.replace(PASSWORD, f"[{PASSWORD}")

    code, output, errors = await command("up", "loms", LOMS_DATABASE_URL=wrong, LOMS_DATABASE_DIRECT_URL=shop.owner_url)

    assert (code, output, errors) == (
        *(2, ""),
        "cannot start: LOMS_DATABASE_URL=…: must be postgresql://user:password@host:port/database\n",
    )


async def command(*arguments: str, **settings: str) -> tuple[int | None, str, str]:
    """Exit code, standard output and standard error of `python -m services.migrate`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.migrate", *arguments),
        cwd=ROOT,
        env=os.environ | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


def files(service: str) -> list[str]:
    return sorted(path.name for path in (ROOT / "sql" / service / "migrations").iterdir())


def test_a_new_migration_has_the_next_number_and_a_title(tmp_path: Path) -> None:
    assert create(tmp_path, "goods").name == "0001_goods.sql"
    second = create(tmp_path, "add_prices")

    assert second.name == "0002_add_prices.sql"
    assert second.read_text() == "-- Add prices.\n"


@pytest.mark.parametrize("name", ["", "Prices", "add-prices", "../prices", "add prices"])
def test_a_new_migration_has_a_plain_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="is not a name"):
        create(tmp_path, name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sql", ["", "-- Prices; later.\n", "/* CREATE TABLE prices\n(sku bigint); */ ;\n"])
async def test_a_migration_that_nobody_has_written_yet_is_refused(sql: str, goods: Shop) -> None:
    goods.add("0002_prices.sql", sql)

    assert "0002_prices.sql holds no statement" in await goods.refusal()
