"""Whether commits wait for the replica: `python -m services.replication await|ignore`.

Without its replica a primary that waits for it commits nothing. Who can do without it
for a while has it ignored: commits go on, and reads go to the primary.
"""

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from pydantic_settings import SettingsConfigDict

from services.chassis.lifecycle import run_to_exit
from services.chassis.postgres import UNREACHABLE
from services.chassis.settings import DatabaseUrl, Settings, StartError, load

CHANGES = {
    "await": "ALTER SYSTEM RESET synchronous_standby_names",
    "ignore": "ALTER SYSTEM SET synchronous_standby_names = ''",
}
IS_STREAMING = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')"


class AdminSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="LOMS_")

    database_admin_url: DatabaseUrl
    """The primary, as its superuser."""


async def change(what: str) -> int:
    """Has the replica of LOMS awaited, as postgresql.conf says it, or ignored; gives the exit code.

    When it ends, every later commit does so.
    """
    settings = load(AdminSettings)
    async with _session(settings) as admin:
        if await admin.fetchval("SELECT pg_is_in_recovery()"):
            raise StartError(f"this is a replica: {settings.variable('database_admin_url')} must lead to the primary")
        if what == "await" and not await admin.fetchval(IS_STREAMING):
            raise StartError("no replica streams from this primary, so commits would wait for ever: start it first")
        await admin.execute(CHANGES[what])
        await admin.execute("SELECT pg_reload_conf()")
    # A commit heeds what the checkpointer has read. Who comes after the reload finds that it was told to read,
    # and it reads before it makes the checkpoint it is asked for.
    async with _session(settings) as admin:
        await admin.execute("CHECKPOINT")
    sys.stdout.write(f"LOMS: commits {'wait for the replica' if what == 'await' else 'do not wait for the replica'}\n")
    return 0


@asynccontextmanager
async def _session(settings: AdminSettings) -> AsyncIterator[asyncpg.Connection]:
    variable = settings.variable("database_admin_url")
    try:
        connection = await asyncpg.connect(settings.database_admin_url.get_secret_value())
    except UNREACHABLE as error:
        raise StartError(f"the primary cannot be reached ({type(error).__name__}): look at {variable}") from None
    try:
        yield connection
    except asyncpg.PostgresError as error:
        raise StartError(f"the primary refuses, {str(error).splitlines()[0]}: look at {variable}") from None
    finally:
        await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.replication", description=__doc__)
    parser.add_argument("what", choices=CHANGES)
    run_to_exit(change(parser.parse_args().what))


if __name__ == "__main__":
    main()
