"""The Python types of PostgreSQL types: what asyncpg gives and takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from codegen.sqlc import names
from codegen.sqlc.errors import GenerationError
from codegen.sqlc.request import Column, Enum, Identifier

_BUILT_IN = {
    "bool": "bool boolean",
    "int": "int2 int4 int8 smallint integer bigint serial2 serial4 serial8 smallserial serial bigserial oid",
    "float": "float4 float8 real double_precision",
    "Decimal": "numeric decimal",
    "str": "text varchar bpchar character_varying json jsonb xml",
    "bytes": "bytea",
    "UUID": "uuid",
    "datetime.date": "date",
    "datetime.time": "time timetz time_without_time_zone time_with_time_zone",
    "datetime.datetime": "timestamp timestamptz timestamp_without_time_zone timestamp_with_time_zone",
    "datetime.timedelta": "interval",
}
"""JSON is its text: so the null of JSON and the NULL of SQL differ, and who reads it decides how."""
_BY_DB_TYPE = {db.replace("_", " "): python for python, names in _BUILT_IN.items() for db in names.split()}
_GUESSED = {"", "any", "anyelement", "anyarray", "anynonarray", "record"}
_OF_CONSTANTS = {"int", "float"}
"""What sqlc takes a number or the result of arithmetic for; `::int` and `::float` have other names there."""


@dataclass(frozen=True, slots=True)
class PythonType:
    """The type of a column or a parameter."""

    name: str
    enum: bool = False
    array: bool = False
    nullable: bool = False

    def annotation(self, container: str = "list", models: str = "models.") -> str:
        """What a module writes that has enums under the prefix `models`, and arrays as `container`."""
        name = f"{models}{self.name}" if self.enum else self.name
        inner = f"{container}[{name}]" if self.array else name
        return f"{inner} | None" if self.nullable else inner

    def decoded(self, value: str) -> str:
        """The expression that makes it of what asyncpg gives."""
        if not self.enum:
            return value
        members = f"models.{members_by_value(self.name)}"
        member = f"[{members}[each] for each in {value}]" if self.array else f"{members}[{value}]"
        return f"None if {value} is None else {member}" if self.nullable else member


class PythonTypes:
    """The types of one catalog."""

    def __init__(self, enums: Iterable[Enum], default_schema: str, overrides: Mapping[str, str]) -> None:
        self._enums = {enum.rel: enum_name(enum.rel, default_schema) for enum in enums}
        self._default_schema = default_schema
        self._overrides = overrides

    def of(self, column: Column) -> PythonType:
        """The type of a column or parameter. Raises GenerationError if it has none."""
        if column.is_sqlc_slice:
            raise GenerationError("sqlc.slice is not for PostgreSQL: write `= ANY(@name::bigint[])`")
        if column.array_dims > 1:
            raise GenerationError("an array of more than one dimension is not supported")
        name, is_enum = self._name(column)
        return PythonType(name, is_enum, column.array_dims == 1, not column.not_null)

    def _name(self, column: Column) -> tuple[str, bool]:
        schema, name = column.type.schema, column.type.name
        known = self._overrides.get(f"{schema}.{name}" if schema else name)
        if known:
            return known, False
        enum = self._enums.get(Identifier(schema or self._default_schema, name))
        if enum:
            return enum, True
        if schema in {"", "pg_catalog"}:
            return _built_in(column), False
        raise _not_supported(f"{schema}.{name}")


def enum_name(rel: Identifier, default_schema: str) -> str:
    return names.class_name(rel.joined(default_schema))


def members_by_value(enum: str) -> str:
    """The name of the dict that finds the members of an enum: a call of the enum takes 18 times as long."""
    return f"{names.snake_case(enum).upper()}_BY_VALUE"


def _built_in(column: Column) -> str:
    name = column.type.name
    if column.is_func_call or name in _GUESSED or (not column.type.schema and name in _OF_CONSTANTS):
        raise GenerationError("sqlc only guesses its type: cast it, as in `count(*)::bigint`")
    if name not in _BY_DB_TYPE:
        raise _not_supported(name)
    return _BY_DB_TYPE[name]


def _not_supported(db_type: str) -> GenerationError:
    return GenerationError(f"the type {db_type} is not supported; `overrides` may give it a Python type")
