"""What the plugin does not support is an error that says where and why."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codegen.sqlc.errors import GenerationError
from codegen.sqlc.generator import generate
from codegen.sqlc.options import Options
from codegen.sqlc.request import Column, Enum, GenerateRequest, Identifier, Query, Table
from tests.unit.codegen.sqlc.catalog import ID, ITEMS, NOTE, NOTES, REQUEST, db_type

ROOT = Path(__file__).parents[4]
PLUGIN = ROOT / "codegen" / "sqlc" / "sqlc-gen-asyncpg"


def _query(text: str = "SELECT 1", cmd: str = ":many", **more: Any) -> GenerateRequest:
    columns = more.pop("columns", (ID,) if cmd in {":one", ":many"} else ())
    return replace(REQUEST, queries=(Query("Some", cmd, text, "some.sql", columns=columns, **more),))


def _error(request: GenerateRequest) -> str:
    with pytest.raises(GenerationError) as raised:
        generate(request)
    return str(raised.value)


def _result(column: Column) -> GenerateRequest:
    return _query(columns=(column,))


CAST = "sqlc only guesses its type: cast it, as in `count(*)::bigint`"


@pytest.mark.parametrize("cmd", [":execresult", ":execlastid", ":batchexec", ":batchone", ":batchmany"])
def test_another_command(cmd: str) -> None:
    assert _error(_query(cmd=cmd)) == f"some.sql: query Some: {cmd} is not supported"


@pytest.mark.parametrize("cmd", [":one", ":many"])
def test_a_result_of_nothing(cmd: str) -> None:
    assert _error(_query(cmd=cmd, columns=())) == f"some.sql: query Some: {cmd} needs a result, and it has none"


def test_a_slice() -> None:
    param = Column("ids", db_type("bigserial"), is_sqlc_slice=True)
    expected = "parameters: column ids: sqlc.slice is not for PostgreSQL: write `= ANY(@name::bigint[])`"
    assert _error(_query(params=(param,))) == f"some.sql: query Some: {expected}"


@pytest.mark.parametrize("name", ["any", "anyelement", "anyarray", "", "int", "float"])
def test_a_type_that_sqlc_guesses(name: str) -> None:
    assert _error(_result(Column("x", db_type(name)))) == f"some.sql: query Some: result: column x: {CAST}"


def test_the_type_of_a_function() -> None:
    found = _error(_result(Column("sum", db_type("bigint"), is_func_call=True)))
    assert found == f"some.sql: query Some: result: column sum: {CAST}"


def test_an_array_of_arrays() -> None:
    found = _error(_result(Column("x", db_type("pg_catalog.int4"), array_dims=2)))
    assert found == "some.sql: query Some: result: column x: an array of more than one dimension is not supported"


@pytest.mark.parametrize("name", ["money", "point", "tsvector", "int4range", "posint", "other.mood"])
def test_a_type_that_is_not_known(name: str) -> None:
    found = _error(replace(REQUEST, tables=(Table(ITEMS, (ID, Column("x", db_type(name)))),)))
    assert found == (f"table items: column x: the type {name} is not supported; `overrides` may give it a Python type")


def test_a_row_of_which_it_is_not_known_whether_it_is_there() -> None:
    embed = Column("items", db_type(""), embed_table=ITEMS)
    place = "some.sql: query Some: result: sqlc.embed(items)"
    for join in (
        "RIGHT JOIN items",
        "full outer join items",
        "LEFT JOIN (items JOIN b USING (c))",
        "LEFT JOIN LATERAL x",
    ):
        found = _error(_query(f"SELECT 1 FROM a {join} ON true", columns=(embed, NOTE)))
        assert found == f"{place}: it is not known which rows of this join may be missing: select the columns"


def test_a_row_of_an_outer_join_that_nothing_tells_from_a_missing_one() -> None:
    embed = Column("notes", db_type(""), embed_table=NOTES)
    found = _error(_query("SELECT 1 FROM a LEFT JOIN notes ON true", columns=(embed, ID)))
    reason = "of a LEFT JOIN, and no column is NOT NULL, which would tell a missing row"
    assert found == f"some.sql: query Some: result: sqlc.embed(notes): {reason}"


def test_an_embedded_row_of_no_table() -> None:
    embed = Column("wanted", db_type(""), embed_table=Identifier("", "wanted"))
    assert _error(_result(embed)) == "some.sql: query Some: result: sqlc.embed(wanted): wanted is no table"


def test_a_copy_whose_columns_have_no_names() -> None:
    found = _error(_query(cmd=":copyfrom", params=(ID,), insert_into_table=ITEMS))
    assert found == "some.sql: query Some: :copyfrom needs the names of the columns"


def test_two_queries_of_one_name() -> None:
    queries = tuple(Query(name, ":exec", "DELETE FROM a", "some.sql") for name in ("GetIt", "get_it"))
    assert _error(replace(REQUEST, queries=queries)) == "some.sql: two of them would have the name get_it in Python"


def test_two_columns_of_one_name() -> None:
    row = (replace(ID, name="a b"), replace(ID, name="a_b"))
    expected = "some.sql: query Some: result: two of them would have the name a_b in Python"
    assert _error(_query(columns=row)) == expected


def test_two_tables_of_one_name() -> None:
    tables = tuple(Table(Identifier("public", name), (ID,)) for name in ("item", "items"))
    assert _error(replace(REQUEST, tables=tables)) == "models: two of them would have the name Item in Python"


def test_two_values_of_an_enum_of_one_name() -> None:
    enums = (Enum(Identifier("public", "size"), ("a b", "a-b")),)
    assert _error(replace(REQUEST, enums=enums)) == "enum size: two of them would have the name A_B in Python"


@pytest.mark.parametrize("name", ["connections", "models", "by-id", "1st", "class"])
def test_a_file_that_cannot_be_a_module(name: str) -> None:
    request = replace(REQUEST, queries=(Query("Some", ":exec", "DELETE FROM a", f"{name}.sql"),))
    expected = f"{name}.sql: no module of Python can have the name {name} beside `connections` and `models`"
    assert _error(request) == expected


def test_another_engine() -> None:
    expected = "the engine mysql is not supported: asyncpg speaks to PostgreSQL only"
    assert _error(replace(REQUEST, engine="mysql")) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"emit_sync_querier": True}, "emit_sync_querier: true is not supported"),
        ({"emit_async_querier": False}, "emit_async_querier: false is not supported"),
        ({"emit_pydantic_models": True}, "emit_pydantic_models: true is not supported"),
        ({"emit_str_enum": False}, "emit_str_enum: false is not supported"),
        ({"emit_json_tags": True}, "emit_json_tags is not known"),
        ({"package": "a-b"}, "package must be the name of a Python package"),
        ({"query_parameter_limit": -1}, "query_parameter_limit must be a number, 0 or more"),
        ({"query_parameter_limit": True}, "query_parameter_limit must be a number, 0 or more"),
        ({"emit_exact_table_names": "yes"}, "emit_exact_table_names must be true or false"),
        ({"inflection_exclude_table_names": "news"}, "inflection_exclude_table_names must be a list of names"),
        ({"overrides": [{"db_type": "ltree"}]}, "overrides must be a list of {db_type: name, py_type: name}"),
    ],
)
def test_an_option_that_is_not_supported(options: dict[str, Any], expected: str) -> None:
    assert _error(replace(REQUEST, options={"package": "some_db", **options})) == f"options: {expected}"


def test_a_module_with_an_iterator_of_the_name_of_a_query() -> None:
    queries = tuple(Query(name, ":many", "SELECT 1", "some.sql", (ID,)) for name in ("Items", "IterateItems"))
    request = replace(REQUEST, queries=queries, options={**REQUEST.options, "emit_iterators": True})
    assert _error(request) == "some.sql: two of them would have the name iterate_items in Python"


def test_enums_of_one_name() -> None:
    enums = (Enum(Identifier("public", "a_b"), ("x",)), Enum(Identifier("a", "b"), ("y",)))
    assert _error(replace(REQUEST, enums=enums)) == "models: two of them would have the name AB in Python"


def test_no_package() -> None:
    expected = "options: package is missing: it is where the modules are imported from"
    assert _error(replace(REQUEST, options={})) == expected


def test_options_that_say_what_is_so_anyway() -> None:
    given = {"emit_async_querier": True, "emit_sync_querier": False, "emit_str_enum": True}
    assert Options.from_json({"package": "some_db", **given}) == Options("some_db")


def test_the_plugin_says_the_error_on_standard_error() -> None:
    """And nothing else: sqlc shows it, and writes no file."""
    request = {
        "settings": {"engine": "mysql"},
        "catalog": {"default_schema": "public", "schemas": []},
        "queries": [],
        "sqlc_version": "v1.31.1",
        "plugin_options": "",
    }
    command = [str(PLUGIN), "/plugin.CodegenService/Generate"]
    done = subprocess.run(command, input=json.dumps(request), env={}, capture_output=True, text=True, check=False)
    expected = "the engine mysql is not supported: asyncpg speaks to PostgreSQL only\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


def test_the_plugin_without_its_argument() -> None:
    done = subprocess.run([PLUGIN], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.match("this is a plugin of sqlc: it expects the argument /plugin.CodegenService/Generate", done.stderr)
