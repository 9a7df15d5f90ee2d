"""The methods of the queries: their parameters and results. What is not supported ends here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from codegen.sqlc import names, statements
from codegen.sqlc.errors import GenerationError, inside
from codegen.sqlc.options import Options
from codegen.sqlc.python_types import PythonType, PythonTypes
from codegen.sqlc.request import Column, Identifier, Query
from codegen.sqlc.structs import Embedded, Field, Models, Struct, fields

_COMMANDS = {":one", ":many", ":exec", ":execrows", ":copyfrom"}

Result = PythonType | Embedded | Struct


@dataclass(frozen=True, slots=True)
class Method:
    """A query as Python has it."""

    name: str
    constant: str
    query: Query
    reads_only: bool
    parameters: tuple[Field, ...]
    parameters_class: Struct | None
    """That the parameters are taken in."""
    result: Result | None
    """Of one row."""
    row_class: Struct | None
    """That the module has for the row."""

    @property
    def iterator_name(self) -> str:
        return f"iterate_{self.constant.lower()}"


@dataclass(frozen=True, slots=True)
class Methods:
    """Makes the methods of one catalog."""

    types: PythonTypes
    models: Models
    options: Options

    def of(self, query: Query) -> Method:
        """The method of a query. Raises GenerationError that names the query."""
        with inside(f"{query.filename}: query {query.name}"):
            _check_command(query)
            name = names.snake_case(query.name)
            parameters = self._parameters(query)
            result = self._result(query)
            row_class = result if isinstance(result, Struct) and not result.name.startswith("models.") else None
            return Method(
                names.identifier(name),
                name.upper(),
                query,
                statements.reads_only(query.text),
                parameters,
                Struct(f"{names.class_name(query.name)}Params", parameters) if self._is_object(query) else None,
                result,
                row_class,
            )

    def _parameters(self, query: Query) -> tuple[Field, ...]:
        named = [
            replace(column, name=column.name or f"dollar_{number}") for number, column in enumerate(query.params, 1)
        ]
        with inside("parameters"):
            return fields(named, self.types, names.identifier if self._is_object(query) else names.parameter)

    def _is_object(self, query: Query) -> bool:
        """Whether the query takes its parameters as the fields of one."""
        return query.cmd == ":copyfrom" or len(query.params) > self.options.query_parameter_limit

    def _result(self, query: Query) -> Result | None:
        if query.cmd not in {":one", ":many"}:
            return None
        if not query.columns:
            raise GenerationError(f"{query.cmd} needs a result, and it has none")
        columns = [_with_nullability(column) for column in query.columns]
        with inside("result"):
            row = self._row(query, columns)
        if len(row) == 1:
            return row[0].type
        return self.models.same(row, columns) or Struct(f"{names.class_name(query.name)}Row", row)

    def _row(self, query: Query, columns: Sequence[Column]) -> tuple[Field, ...]:
        plain = iter(fields([column for column in columns if not column.embed_table], self.types))
        row = [self._embedded(query, column.embed_table) if column.embed_table else next(plain) for column in columns]
        unique = names.distinct(field.name for field in row)
        return tuple(replace(field, name=name) for name, field in zip(unique, row, strict=True))

    def _embedded(self, query: Query, table: Identifier) -> Field:
        with inside(f"sqlc.embed({table.name})"):
            model = self.models.of(table)
            name = names.snake_case(model.name.removeprefix("models."))
            return Field(names.identifier(name), Embedded(model, self._key(query, table)))

    def _key(self, query: Query, table: Identifier) -> int | None:
        """None if there is a row always. sqlc does not say whether there is."""
        optional = statements.optional_tables(query.text)
        if optional is None:
            raise GenerationError("it is not known which rows of this join may be missing: select the columns")
        if table.name.lower() not in optional:
            return None
        for number, field in enumerate(self.models.of(table).fields):
            if isinstance(field.type, PythonType) and not field.type.nullable:
                return number
        raise GenerationError("of a LEFT JOIN, and no column is NOT NULL, which would tell a missing row")


def _check_command(query: Query) -> None:
    if query.cmd not in _COMMANDS:
        raise GenerationError(f"{query.cmd} is not supported")
    if query.cmd == ":copyfrom" and not all(column.original_name for column in query.params):
        raise GenerationError(":copyfrom needs the names of the columns")


def _with_nullability(column: Column) -> Column:
    """Where sqlc does not know whether an expression may be NULL, its name says so, as in sqlx: `AS "last?"`
    may be, `AS "last!"` is not.
    """
    if column.name.endswith(("?", "!")):
        return replace(column, name=column.name[:-1], not_null=column.name.endswith("!"))
    return column
