"""PgBouncer in front of a database: whether it is there, and what it bears."""

import re

import asyncpg

from services.chassis.settings import StartError

CONSOLE = "pgbouncer"
"""The database in which PgBouncer tells of itself. No server has it."""
OLDEST = (1, 18)
"""Older ones were not tried."""
VERSION = re.compile(r"(\d+)\.(\d+).*/bouncer")
CONNECT_SECONDS = 5


async def is_pooled(url: str, variable: str) -> bool:
    """Whether a URL, which is what the setting `variable` holds, leads through PgBouncer.

    Raises StartError when it leads through one that is too old, or that does not tell,
    and what asyncpg raises when nobody can be reached.
    """
    try:
        console = await asyncpg.connect(url, database=CONSOLE, timeout=CONNECT_SECONDS, statement_cache_size=0)
    except (asyncpg.InvalidCatalogNameError, asyncpg.InsufficientPrivilegeError):
        return False
    except asyncpg.ProtocolViolationError:
        told = f"PgBouncer does not tell its version to the user of {variable}: look at the password and at stats_users"
        raise StartError(told) from None
    found = VERSION.fullmatch(console.get_settings().server_version)
    await console.close()
    if found and (int(found[1]), int(found[2])) < OLDEST:
        raise StartError(f"{variable} leads through PgBouncer {found[0]}, which is too old: install 1.18 or newer")
    return found is not None
