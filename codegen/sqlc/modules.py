"""The text of the modules, before it is formatted."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from textwrap import indent

from codegen.sqlc import names
from codegen.sqlc.methods import Method
from codegen.sqlc.python_types import PythonType, members_by_value
from codegen.sqlc.request import Enum
from codegen.sqlc.structs import Embedded, Struct

_IMPORTS = """
import datetime
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from uuid import UUID
import asyncpg
from asyncpg.pool import PoolConnectionProxy
"""
"""All that a module may need, beside `models`: ruff puts it in order and takes away what is not needed."""
_READER_INIT = """
__slots__ = ("_conn",)

def __init__(self, conn: ReadConnection) -> None:
    self._conn = conn
"""
_QUERIER_INIT = """
__slots__ = ("_conn",)

def __init__(self, conn: Connection) -> None:
    self._conn = conn
"""
_BOTH_INIT = """
__slots__ = ()
_conn: Connection

def __init__(self, conn: Connection) -> None:
    super().__init__(conn)
"""
_CONNECTIONS = '''
from collections.abc import AsyncIterable
from typing import Any, Protocol, TypeAlias
import asyncpg
from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = asyncpg.Connection | PoolConnectionProxy
"""A connection for every query."""


class ReadConnection(Protocol):
    """A connection for queries that only read. A `Connection` is one, too, but no querier that writes takes it."""

    async def fetch(self, query: str, /, *args: object) -> list[asyncpg.Record]: ...
    async def fetchrow(self, query: str, /, *args: object) -> asyncpg.Record | None: ...
    async def fetchval(self, query: str, /, *args: object) -> Any: ...
    def cursor(self, query: str, /, *args: object) -> AsyncIterable[asyncpg.Record]: ...
'''


def connections_module() -> str:
    """The types of the connections that queriers take."""
    return _CONNECTIONS


def models_module(enums: dict[str, Enum], models: Iterable[Struct], imports: str) -> str:
    """The enums and the classes of the tables."""
    parts = [_IMPORTS + imports]
    parts += [_enum(name, enum) for name, enum in sorted(enums.items())]
    parts += [_dataclass(model, "list", models="") for model in sorted(models, key=lambda each: each.name)]
    return "\n".join(parts)


def queries_module(source: str, methods: Sequence[Method], imports: str, *, iterators: bool) -> str:
    """The statements, the classes of rows and parameters, and the classes that have the queries as methods."""
    parts = [_IMPORTS + imports]
    for method in methods:
        parts.append(_statement(method))
        if method.parameters_class:
            parts.append(_dataclass(method.parameters_class, "Sequence"))
        if method.row_class:
            parts.append(_dataclass(method.row_class, "list"))
    parts += _classes(source, methods, iterators=iterators)
    return "\n".join(parts)


# Declarations


def _enum(name: str, enum: Enum) -> str:
    members = [f"{names.constant(value)} = {_string(value)}" for value in enum.vals]
    declared = _block(f"class {name}(StrEnum)", _docstring(enum.comment), *members)
    return f"{declared}\n{members_by_value(name)} = {{each.value: each for each in {name}}}\n"


def _dataclass(struct: Struct, container: str, models: str = "models.") -> str:
    lines = [_docstring(struct.comment)]
    for field in struct.fields:
        lines += [f"{field.name}: {_annotation(field.type, container, models)}", _docstring(field.comment)]
    head = f"class {struct.name.removeprefix('models.')}"
    return f"@dataclass(frozen=True, slots=True)\n{_block(head, *lines)}"


def _statement(method: Method) -> str:
    query = method.query
    text = _string(f"-- name: {query.name} {query.cmd}\n{query.text}\n")
    return f"{method.constant} = {text}\n"


def _annotation(kind: PythonType | Embedded | Struct, container: str = "list", models: str = "models.") -> str:
    if isinstance(kind, PythonType):
        return kind.annotation(container, models)
    return kind.annotation() if isinstance(kind, Embedded) else kind.name


# Queriers


def _classes(source: str, methods: Iterable[Method], *, iterators: bool) -> list[str]:
    reading: list[str] = []
    writing: list[str] = []
    for method in methods:
        target = reading if method.reads_only else writing
        target.append(_METHODS[method.query.cmd](method))
        if iterators and method.query.cmd == ":many":
            target.append(_iterator(method))
    reader = f"The queries of {source} that only read: a standby server answers them, too."
    querier = f"All queries of {source}."
    if not writing:
        return [_block("class AsyncReader", _docstring(reader), _READER_INIT, *reading)]
    if not reading:
        return [_block("class AsyncQuerier", _docstring(querier), _QUERIER_INIT, *writing)]
    return [
        _block("class AsyncReader", _docstring(reader), _READER_INIT, *reading),
        _block("class AsyncQuerier(AsyncReader)", _docstring(querier), _BOTH_INIT, *writing),
    ]


def _one(method: Method) -> str:
    """No row and, of a single column, NULL are both None."""
    kind = method.result
    assert kind is not None
    optional = f"{_annotation(kind).removesuffix(' | None')} | None"
    if not isinstance(kind, PythonType):
        missing = "if row is None:\n    return None"
        return _method(method, optional, f"row = await {_call(method, 'fetchrow')}", missing, f"return {_row(method)}")
    fetched = f"await {_call(method, 'fetchval')}"
    if not kind.enum:
        return _method(method, optional, f"value: {optional} = {fetched}", "return value")
    value = replace(kind, nullable=True).decoded("value")
    return _method(method, optional, f"value = {fetched}", f"return {value}")


def _many(method: Method) -> str:
    assert method.result is not None
    rows = f"return [{_row(method)} for row in await {_call(method, 'fetch')}]"
    return _method(method, f"list[{_annotation(method.result)}]", rows)


def _iterator(method: Method) -> str:
    assert method.result is not None
    head = _head(method.iterator_name, _parameters(method), f"AsyncIterator[{_annotation(method.result)}]")
    comment = f"The rows of `{method.name}` through a cursor, which lives as long as the transaction that it needs."
    return _block(head, _docstring(comment), f"async for row in {_call(method, 'cursor')}:\n    yield {_row(method)}")


def _exec(method: Method) -> str:
    return _method(method, "None", f"await {_call(method, 'execute')}")


def _execrows(method: Method) -> str:
    return _method(
        method, "int", f"status_tag = await {_call(method, 'execute')}", 'return int(status_tag.rpartition(" ")[2])'
    )


def _copyfrom(method: Method) -> str:
    table = method.query.insert_into_table
    assert table is not None
    assert method.parameters_class is not None
    values = _tuple(f"each.{field.name}" for field in method.parameters)
    columns = _tuple(_string(column.original_name) for column in method.query.params)
    arguments = [_string(table.name), f"columns={columns}", f"records=({values} for each in arg)"]
    if table.schema:
        arguments.append(f"schema_name={_string(table.schema)}")
    call = f"self._conn.copy_records_to_table({', '.join(arguments)})"
    lines = [f"status_tag = await {call}", 'return int(status_tag.rpartition(" ")[2])']
    head = _head(method.name, f"arg: Iterable[{method.parameters_class.name}]", "int")
    return _block(head, _docstring(_comment(method)), *lines)


_METHODS = {":one": _one, ":many": _many, ":exec": _exec, ":execrows": _execrows, ":copyfrom": _copyfrom}


def _method(method: Method, result: str, *body: str) -> str:
    return _block(_head(method.name, _parameters(method), result), _docstring(_comment(method)), *body)


def _head(name: str, parameters: str, result: str) -> str:
    return f"async def {name}(self{', ' if parameters else ''}{parameters}) -> {result}"


def _parameters(method: Method) -> str:
    """They are named in a call, unless they are one object."""
    if method.parameters_class:
        return f"arg: {method.parameters_class.name}"
    named = [f"{field.name}: {_annotation(field.type, 'Sequence')}" for field in method.parameters]
    return ", ".join(["*", *named]) if named else ""


def _call(method: Method, function: str) -> str:
    prefix = "arg." if method.parameters_class else ""
    arguments = [method.constant, *(f"{prefix}{field.name}" for field in method.parameters)]
    return f"self._conn.{function}({', '.join(arguments)})"


def _row(method: Method) -> str:
    """The expression that makes the result of `row`."""
    kind = method.result
    assert kind is not None
    if isinstance(kind, PythonType):
        return kind.decoded("row[0]")
    return kind.decoded() if isinstance(kind, Struct) else kind.decoded(0)


def _comment(method: Method) -> str:
    return "\n".join(line.removeprefix(" ").rstrip() for line in method.query.comments)


# Text


def _block(head: str, *lines: str) -> str:
    body = "\n".join(line for line in lines if line) or "pass"
    return f"{head}:\n{indent(body, '    ')}\n"


def _tuple(items: Iterable[str]) -> str:
    first, *more = items
    return f"({', '.join([first, *more])})" if more else f"({first},)"


def _docstring(comment: str) -> str:
    """A docstring of the comment; no comment, none."""
    if not comment.strip():
        return ""
    text = comment.strip().replace("\\", "\\\\")
    if '"""' in text or text.endswith('"'):
        text = text.replace('"', '\\"')
    return f'"""{text}\n"""' if "\n" in text else f'"""{text}"""'


def _string(value: str) -> str:
    """The literal; of more than one line, as it would be written."""
    if "\n" not in value:
        return json.dumps(value, ensure_ascii=False)
    return '"""' + value.replace("\\", "\\\\").replace('"""', '\\"\\"\\"') + '"""'
