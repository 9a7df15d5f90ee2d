"""Migrations: the numbered SQL files that make and change the tables of a service.

Each is one transaction, together with the row of schema_migrations that says that it
was applied. Whoever migrates holds a lock that the server takes back when its holder
is gone: replicas may all migrate when they start, and may be killed at it.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from services.chassis.log import Logger
from services.chassis.pooler import is_pooled
from services.chassis.postgres import LOST, UNREACHABLE, Database, database
from services.chassis.settings import DatabaseSettings, StartError

NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
TRANSACTION = re.compile(
    r"^\s*(BEGIN|START|COMMIT|ROLLBACK|ABORT)(\s+(WORK|TRANSACTION))?\s*;", re.IGNORECASE | re.MULTILINE
)

CONNECT_SECONDS = 10
SESSION = {
    "application_name": "migrations",
    "statement_timeout": "0",
    # A service starts without its replica, too.
    "synchronous_commit": "local",
    # The server notices within a second that its client was killed, and within half a minute that it is unplugged.
    "client_connection_check_interval": "500ms",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

LOCK = "SELECT pg_advisory_lock(hashtextextended('migrations of ' || current_database(), 0))"
RECORDS = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
DML_ONLY = """
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role};
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {role};
GRANT USAGE ON SCHEMA public TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
GRANT SELECT, USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
REVOKE INSERT, UPDATE, DELETE ON schema_migrations FROM {role};
"""
LIMITS = """
ALTER DATABASE {database} SET lock_timeout = '2s';
ALTER DATABASE {database} SET statement_timeout = '4s';
ALTER DATABASE {database} SET idle_in_transaction_session_timeout = '10s';
ALTER DATABASE {database} SET jit = off;
"""
"""The server gives up before its clients do: none of them has to ask for it."""


@dataclass(frozen=True)
class Waits:
    """How long a migration may wait."""

    turn_seconds: float = 60
    """For others that migrate."""
    lock_seconds: float = 5
    """For each lock on a table, while everybody else queues behind it."""


@dataclass(frozen=True)
class Migration:
    """One of the files."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def migrate(
    direct_url: str, variable: str, folder: Path, app_role: str | None = None, waits: Waits = Waits()
) -> list[str]:
    """Applies the migrations of a folder that were not applied yet, and gives their names.

    `direct_url`, which is what the setting `variable` holds, leads past every pooler. The
    application's role, if it has one of its own, may then read and write the rows of
    every table, and nothing else.

    Raises StartError when the database cannot be reached, when a wait is too long, when
    the files are not those that were applied before, and when one of them fails, of which
    nothing is left then. Migrations that come after those of the folder belong to a newer
    release and are left alone.
    """
    migrations = read(folder)
    async with _session(direct_url, variable) as connection:
        with _explained("waiting for others that migrate"):
            await _limit_waiting(connection, waits.turn_seconds)
            await connection.execute(LOCK)
        with _explained("reading schema_migrations"):
            await _limit_waiting(connection, waits.lock_seconds)
            await connection.execute(RECORDS)
            applied = await connection.fetch("SELECT name, checksum FROM schema_migrations ORDER BY name")
        pending = _pending(folder, migrations, applied)
        for migration in pending:
            with _explained(f"{folder / migration.name}"):
                await _apply(connection, migration)
        with _explained("limiting how long statements may take"):
            await _limit_statements(connection)
        with _explained(f"granting {app_role} what it needs"):
            await _grant(connection, app_role)
    return [migration.name for migration in pending]


@asynccontextmanager
async def migrated_database(settings: DatabaseSettings, folder: Path, log: Logger) -> AsyncIterator[Database]:
    """The database of a service, with the migrations of the folder applied."""
    applied = await migrate_database(settings, folder)
    if applied:
        log.info("migrated", migrations=applied)
    url, variable = settings.required_url("database_url"), settings.variable("database_url")
    async with database(url, variable, log, settings.database_connections) as migrated:
        yield migrated


async def migrate_database(settings: DatabaseSettings, folder: Path) -> list[str]:
    """Applies the migrations of a folder to the database of a service, as `migrate` does."""
    direct_url, url = settings.required_url("database_direct_url"), settings.required_url("database_url")
    return await migrate(direct_url, settings.variable("database_direct_url"), folder, _role_of(url))


def _role_of(url: str) -> str | None:
    """The role that a URL names."""
    role = urlsplit(url).username
    return unquote(role) if role else None


def read(folder: Path) -> list[Migration]:
    """The migrations of a folder. Raises StartError unless they are numbered 0001, 0002 and so on."""
    migrations = [_read_file(folder / name) for name in _names(folder)]
    if not migrations:
        raise StartError(f"{folder} holds no migrations")
    return migrations


def create(folder: Path, name: str) -> Path:
    """A new file for the next migration, with nothing in it but its title."""
    path = folder / f"{len(_names(folder)) + 1:04}_{name}.sql"
    if not NAME.fullmatch(path.name):
        raise StartError(f"{name} is not a name of small letters, digits and underscores")
    path.write_text(f"-- {name.replace('_', ' ').capitalize()}.\n")
    return path


def _names(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.glob("*.sql"))
    for number, name in enumerate(names, 1):
        if not NAME.fullmatch(name):
            raise StartError(f"{folder / name} is not named like 0001_what_it_does.sql")
        if not name.startswith(f"{number:04}_"):
            raise StartError(f"{folder / name} is where {number:04} should be: each number is there once, without gaps")
    return names


def _read_file(path: Path) -> Migration:
    sql = path.read_text(encoding="utf-8")
    if found := TRANSACTION.search(sql):
        raise StartError(f"{path} holds {found[1].upper()}: a migration is one transaction already")
    if not COMMENT.sub("", sql).strip("; \n"):
        raise StartError(f"{path} holds no statement: write it or remove it")
    return Migration(path.name, sql)


@asynccontextmanager
async def _session(direct_url: str, variable: str) -> AsyncIterator[asyncpg.Connection]:
    try:
        if await is_pooled(direct_url, variable):
            raise StartError(f"{variable} leads through PgBouncer: a migration needs a session of its own")
        connection = await asyncpg.connect(direct_url, timeout=CONNECT_SECONDS, server_settings=SESSION)
    except UNREACHABLE as error:
        raise StartError(f"the database cannot be reached ({type(error).__name__}): look at {variable}") from None
    try:
        yield connection
    finally:
        await connection.close()


async def _limit_waiting(connection: asyncpg.Connection, seconds: float) -> None:
    await connection.execute(f"SET lock_timeout = {ceil(seconds * 1000)}")


@contextmanager
def _explained(step: str) -> Iterator[None]:
    """Makes what the server says against a step a reason not to start, without the details, which may be data."""
    try:
        yield
    except LOST as error:
        raise StartError(f"{step}: the database was lost on the way ({type(error).__name__})") from None
    except asyncpg.PostgresError as error:
        raise StartError(f"{step}: {error.sqlstate} {str(error).splitlines()[0]}") from None


def _pending(folder: Path, migrations: Sequence[Migration], applied: Sequence[asyncpg.Record]) -> Sequence[Migration]:
    for row, migration in zip(applied, migrations, strict=False):
        if row["name"] != migration.name:
            raise StartError(f"{folder / row['name']} was applied and is missing: put it back")
        if row["checksum"] != migration.checksum:
            raise StartError(f"{folder / migration.name} was changed after it was applied: undo it, write a new one")
    return migrations[len(applied) :]


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        record = "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)"
        await connection.execute(record, migration.name, migration.checksum)


async def _limit_statements(connection: asyncpg.Connection) -> None:
    name: str = await connection.fetchval("SELECT quote_ident(current_database())")
    await connection.execute(LIMITS.format(database=name))


async def _grant(connection: asyncpg.Connection, app_role: str | None) -> None:
    if app_role in (None, await connection.fetchval("SELECT current_user")):
        return
    role = '"' + app_role.replace('"', '""') + '"'
    async with connection.transaction():
        await connection.execute(DML_ONLY.format(role=role))
