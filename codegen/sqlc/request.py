"""What sqlc sends: the parts of its plugin.GenerateRequest that are used here."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

_BUILT_IN = {"pg_catalog", "information_schema"}


@dataclass(frozen=True, slots=True)
class Identifier:
    """A table or a type. `schema` is empty where sqlc leaves it out."""

    schema: str
    name: str

    @classmethod
    def from_json(cls, found: Mapping[str, str]) -> Self:
        """The schema of a type may stand before its name, with a dot."""
        schema, _, name = found["name"].rpartition(".")
        return cls(found["schema"] or schema, name)

    def joined(self, default_schema: str) -> str:
        """One name of it: `warehouse_shelves`, or without the schema where that is the default."""
        return self.name if self.schema == default_schema else f"{self.schema}_{self.name}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or of a result, or a parameter."""

    name: str
    type: Identifier
    not_null: bool = False
    array_dims: int = 0
    comment: str = ""
    original_name: str = ""
    """Of the column of a table that it is or is compared with."""
    table: Identifier | None = None
    embed_table: Identifier | None = None
    """The table of a `sqlc.embed`."""
    is_func_call: bool = False
    is_sqlc_slice: bool = False

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        return cls(
            name=found["name"],
            type=Identifier.from_json(found["type"] or {"schema": "", "name": ""}),
            not_null=found["not_null"],
            array_dims=found["array_dims"] or int(found["is_array"]),
            comment=found["comment"],
            original_name=found["original_name"],
            table=found["table"] and Identifier.from_json(found["table"]),
            embed_table=found["embed_table"] and Identifier.from_json(found["embed_table"]),
            is_func_call=found["is_func_call"],
            is_sqlc_slice=found["is_sqlc_slice"],
        )


@dataclass(frozen=True, slots=True)
class Table:
    """A table, a view or a materialized view."""

    rel: Identifier
    columns: tuple[Column, ...]
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Enum:
    """A type of `CREATE TYPE … AS ENUM`."""

    rel: Identifier
    vals: tuple[str, ...]
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """A statement under a line `-- name: Name :cmd`."""

    name: str
    cmd: str
    text: str
    filename: str
    columns: tuple[Column, ...] = ()
    params: tuple[Column, ...] = ()
    """By their numbers: `$1` is the first."""
    comments: tuple[str, ...] = ()
    insert_into_table: Identifier | None = None

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        params = sorted(found["params"], key=lambda each: int(each["number"]))
        return cls(
            name=found["name"],
            cmd=found["cmd"],
            text=found["text"],
            filename=found["filename"],
            columns=_columns(found["columns"]),
            params=_columns(each["column"] for each in params),
            comments=tuple(found["comments"]),
            insert_into_table=found["insert_into_table"] and Identifier.from_json(found["insert_into_table"]),
        )


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One entry of `sql` in sqlc.yaml. Tables and enums of PostgreSQL itself are left out; a schema is
    always named in them.
    """

    engine: str
    default_schema: str
    tables: tuple[Table, ...]
    enums: tuple[Enum, ...]
    queries: tuple[Query, ...]
    sqlc_version: str
    options: Mapping[str, Any]

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        catalog = found["catalog"]
        schemas = [each for each in catalog["schemas"] if each["name"] not in _BUILT_IN]
        return cls(
            engine=found["settings"]["engine"],
            default_schema=catalog["default_schema"],
            tables=tuple(
                Table(Identifier(schema["name"], table["rel"]["name"]), _columns(table["columns"]), table["comment"])
                for schema in schemas
                for table in schema["tables"]
            ),
            enums=tuple(
                Enum(Identifier(schema["name"], enum["name"]), tuple(enum["vals"]), enum["comment"])
                for schema in schemas
                for enum in schema["enums"]
            ),
            queries=tuple(Query.from_json(each) for each in found["queries"]),
            sqlc_version=found["sqlc_version"],
            options=json.loads(base64.b64decode(found["plugin_options"]) or b"{}"),
        )


def _columns(found: Iterable[Mapping[str, Any]]) -> tuple[Column, ...]:
    return tuple(Column.from_json(each) for each in found)
