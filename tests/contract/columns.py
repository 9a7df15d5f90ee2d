"""The columns of a database, and what they hold: its server is asked, no SQL is read."""

import re
from dataclasses import dataclass

import asyncpg

COLUMNS = """
SELECT
    t.relname || '.' || c.attname AS key,
    quote_ident(c.attname) AS identifier,
    format_type(c.atttypid, c.atttypmod) AS type,
    NOT c.attnotnull AS is_nullable,
    ARRAY(
        SELECT pg_get_expr(k.conbin, k.conrelid) FROM pg_constraint AS k
        WHERE k.conrelid = t.oid AND k.contype = 'c' AND k.conkey = ARRAY[c.attnum]
    ) AS checks,
    ARRAY(
        SELECT r.relname || '.' || a.attname
        FROM pg_constraint AS k, unnest(k.conkey, k.confkey) AS pair (own, other), pg_class AS r, pg_attribute AS a
        WHERE k.conrelid = t.oid AND k.contype = 'f' AND pair.own = c.attnum
            AND r.oid = k.confrelid AND a.attrelid = k.confrelid AND a.attnum = pair.other
    ) AS referenced,
    ARRAY(
        SELECT e.enumlabel::text FROM pg_enum AS e WHERE e.enumtypid = c.atttypid ORDER BY e.enumsortorder
    ) AS labels
FROM pg_class AS t INNER JOIN pg_attribute AS c ON t.oid = c.attrelid
WHERE t.relkind IN ('r', 'p') AND t.relnamespace = 'public'::regnamespace AND c.attnum > 0 AND NOT c.attisdropped
ORDER BY t.relname, c.attnum
"""
LITERAL = re.compile(r"'((?:[^']|'')*)'")


@dataclass(frozen=True)
class Column:
    """A column, with the constraints that are about it alone."""

    key: str
    """`table.column`."""
    identifier: str
    type: str
    is_nullable: bool
    checks: list[str]
    """The conditions of its CHECKs."""
    referenced: list[str]
    """The keys of the columns that have to hold its values, too."""
    labels: list[str]
    """The values of its enum."""

    @property
    def name(self) -> str:
        return self.key.partition(".")[2]

    @property
    def words(self) -> list[str]:
        """The values that its constraints name."""
        return self.labels + [word.replace("''", "'") for check in self.checks for word in LITERAL.findall(check)]


class Catalogue:
    """The columns of a database, by key."""

    def __init__(self, connection: asyncpg.Connection, columns: dict[str, Column]) -> None:
        self._connection = connection
        self.columns = columns

    async def held(self, column: Column, value: str) -> str | None:
        """What the column holds when it is given this text; None if it, or a column that it refers to, refuses it."""
        if not await self._connection.fetchval("SELECT pg_input_is_valid($1, $2)", value, column.type):
            return None
        conditions = " AND ".join(f"({check}) IS NOT FALSE" for check in column.checks) or "TRUE"
        given = f"(VALUES (CAST($1::text AS {column.type}))) AS given ({column.identifier})"
        held: str | None = await self._connection.fetchval(
            f"SELECT {column.identifier}::text FROM {given} WHERE {conditions}", value
        )
        for key in column.referenced:
            if held is not None:
                held = await self.held(self.columns[key], held)
        return held


async def catalogue_of(connection: asyncpg.Connection) -> Catalogue:
    """What the server knows of the tables of a database."""
    columns = [Column(**row) for row in await connection.fetch(COLUMNS)]
    return Catalogue(connection, {column.key: column for column in columns})
