"""Classes of rows and of parameters, and the expressions that make them of a record of asyncpg."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codegen.sqlc import names
from codegen.sqlc.errors import GenerationError, inside
from codegen.sqlc.options import Options
from codegen.sqlc.python_types import PythonType, PythonTypes
from codegen.sqlc.request import Column, GenerateRequest, Identifier


@dataclass(frozen=True, slots=True)
class Field:
    """A value of a row, or a parameter."""

    name: str
    type: "PythonType | Embedded"
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Struct:
    """A dataclass. `name` is how a module of queries names it, be it one of its own or of `models`."""

    name: str
    fields: tuple[Field, ...]
    comment: str = ""

    def decoded(self, first: int = 0, end: int | None = None) -> str:
        """The expression that makes it of the values from `first` on; no `end`: of all values of the record."""
        columns = _columns([field.type for field in self.fields], first)
        if columns == [f"row[{first + n}]" for n in range(len(columns))]:
            return f"{self.name}(*row)" if end is None else f"{self.name}(*row[{first}:{end}])"
        return f"{self.name}({', '.join(columns)})"


@dataclass(frozen=True, slots=True)
class Embedded:
    """The row of a table within a row (`sqlc.embed`)."""

    struct: Struct
    key: int | None = None
    """Of a row that may be missing: which of its values is NULL then, and only then."""

    def annotation(self) -> str:
        return self.struct.name if self.key is None else f"{self.struct.name} | None"

    def decoded(self, first: int) -> str:
        made = self.struct.decoded(first, first + len(self.struct.fields))
        return made if self.key is None else f"None if row[{first + self.key}] is None else {made}"


@dataclass(frozen=True, slots=True)
class Models:
    """The classes of the tables."""

    by_table: dict[Identifier, Struct]
    default_schema: str

    def of(self, table: Identifier) -> Struct:
        """The class of a table. Raises GenerationError if it is none."""
        model = self.by_table.get(self._qualified(table))
        if model is None:
            raise GenerationError(f"{table.name} is no table")
        return model

    def same(self, fields: Sequence[Field], columns: Sequence[Column]) -> Struct | None:
        """The class of the table that these columns are all the columns of, just as the table has them."""
        tables = {self._qualified(column.table) if column.table else None for column in columns}
        table = tables.pop()
        model = self.by_table.get(table) if table else None
        if model is None or tables:
            return None
        wanted = [(field.name, field.type) for field in model.fields]
        return model if wanted == [(field.name, field.type) for field in fields] else None

    def _qualified(self, table: Identifier) -> Identifier:
        return Identifier(table.schema or self.default_schema, table.name)


def models(request: GenerateRequest, options: Options, types: PythonTypes) -> Models:
    """A class for each table and view."""
    by_table = {}
    for table in request.tables:
        with inside(f"table {table.rel.name}"):
            name = table.rel.joined(request.default_schema)
            if not options.emit_exact_table_names:
                name = names.singular(name, options.inflection_exclude_table_names)
            by_table[table.rel] = Struct(
                f"models.{names.class_name(name)}", fields(table.columns, types), table.comment
            )
    return Models(by_table, request.default_schema)


def fields(
    columns: Sequence[Column], types: PythonTypes, named: Callable[[str], str] = names.identifier
) -> tuple[Field, ...]:
    """The fields for these columns. Raises GenerationError that names the column."""
    made = []
    unique = names.distinct(column.name or f"column_{number}" for number, column in enumerate(columns, 1))
    for name, column in zip(unique, columns, strict=True):
        with inside(f"column {name}"):
            made.append(Field(named(name), types.of(column), column.comment))
    names.check_distinct(field.name for field in made)
    return tuple(made)


def _columns(types: Sequence[PythonType | Embedded], first: int) -> list[str]:
    """The expressions of values that follow each other in a record."""
    expressions = []
    for kind in types:
        if isinstance(kind, Embedded):
            expressions.append(kind.decoded(first))
            first += len(kind.struct.fields)
        else:
            expressions.append(kind.decoded(f"row[{first}]"))
            first += 1
    return expressions
