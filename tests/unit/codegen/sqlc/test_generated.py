"""What an option or a detail of a query changes in the modules."""

import ast
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from codegen.sqlc import names
from codegen.sqlc.generator import generate
from codegen.sqlc.request import Column, Enum, GenerateRequest, Identifier, Query, Table
from codegen.sqlc.statements import optional_tables, reads_only
from tests.unit.codegen.sqlc.catalog import ID, ITEMS, NOTE, REQUEST, db_type


def _generated(*queries: Query, request: GenerateRequest = REQUEST, **options: Any) -> dict[str, str]:
    return generate(replace(request, queries=queries, options={**REQUEST.options, **options}))


def _module(*queries: Query, request: GenerateRequest = REQUEST, **options: Any) -> str:
    return _generated(*queries, request=request, **options)["some.py"]


def _query(name: str = "Some", text: str = "SELECT 1", cmd: str = ":many", **more: Any) -> Query:
    return Query(name, cmd, text, "some.sql", columns=more.pop("columns", (ID,)), **more)


Node = TypeVar("Node", bound=ast.AST)

READS = "SELECT id FROM items"
WRITES = "DELETE FROM items RETURNING id"


def test_queries_of_both_kinds_are_in_two_classes() -> None:
    module = _module(_query("Write", WRITES), _query("Read", READS))
    reader, querier = module.split("class AsyncQuerier(AsyncReader):")
    assert "async def read(" in reader
    assert "async def write(" not in reader
    assert "async def write(" in querier


def test_queries_that_only_read_have_no_querier() -> None:
    module = _module(_query(text=READS))
    assert "class AsyncReader:" in module
    assert "AsyncQuerier" not in module


def test_queries_that_only_write_have_no_reader() -> None:
    module = _module(_query(text=WRITES))
    assert "class AsyncQuerier:" in module
    assert "AsyncReader" not in module


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "  (SELECT 1) UNION (SELECT 2)",
        "with a as (select 1) select * from a",
        "VALUES (1)",
        "TABLE items",
        "SELECT 'INSERT', E'it\\'s FOR UPDATE', $$ DELETE $$, $a$ $$ UPDATE $a$ -- MERGE",
        "/* UPDATE */ SELECT updated_at, last_insert, 'it''s; DELETE' FROM items",
        "/* UPDATE\n a\n */ SELECT $$ DELETE\n $$, '\n INTO '",
        "SELECT share, lo_price, nextval FROM shares WHERE currval('ids') > $1 AND x < $2",
    ],
)
def test_a_statement_reads(text: str) -> None:
    assert reads_only(text)


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO a VALUES (1)",
        "delete from a",
        "CALL something()",
        "REFRESH MATERIALIZED VIEW a",
        "WITH a AS (INSERT INTO b VALUES (1) RETURNING *) SELECT * FROM a",
        "WITH a AS (SELECT 1) UPDATE b SET c = 1",
        "SELECT 1 FROM a FOR UPDATE SKIP LOCKED",
        "SELECT 1 FROM a FOR NO KEY UPDATE",
        "SELECT 1 FROM a FOR SHARE",
        "SELECT 1 FROM a\nFOR  KEY\nSHARE",
        "SELECT 'a' -- '\n FOR UPDATE -- '",
        "SELECT $$ ' $$ INTO a",
        "SELECT a AS \"user's\" FROM b FOR UPDATE -- '",
        "SELECT nextval('ids')",
        "SELECT pg_catalog.setval('ids', 1)",
        "SELECT pg_notify('a', 'b')",
        "SELECT pg_try_advisory_xact_lock(1)",
        "MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE",
    ],
)
def test_a_statement_changes_or_locks(text: str) -> None:
    assert not reads_only(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1 FROM a JOIN b ON true", set()),
        ("SELECT 'left join c' FROM a LEFT JOIN b ON true left outer join Public.\"D\" x ON true", {"b", "d"}),
        ("SELECT 1 FROM a LEFT\n  JOIN ONLY b ON true -- RIGHT JOIN c", {"b"}),
        ("SELECT 1 FROM a RIGHT JOIN b ON true", None),
        ("SELECT 1 FROM a FULL JOIN b ON true", None),
        ("SELECT 1 FROM a LEFT JOIN(b JOIN c ON true) ON true", None),
    ],
)
def test_a_left_join_makes_a_table_optional(text: str, expected: set[str] | None) -> None:
    assert optional_tables(text) == expected


def test_more_parameters_than_the_limit_are_one_object() -> None:
    query = _query(params=(ID, NOTE))
    assert "def some(self, *, id: int, note: str | None) -> list[int]:" in _module(query, query_parameter_limit=2)
    assert "def some(self, arg: SomeParams) -> list[int]:" in _module(query, query_parameter_limit=1)
    assert "def some(self, arg: SomeParams) -> list[int]:" in _module(_query(params=(ID,)), query_parameter_limit=0)
    assert "def some(self) -> list[int]:" in _module(_query(), query_parameter_limit=0)


def test_the_limit_is_four_as_in_sqlc_gen_python() -> None:
    numbered = [replace(ID, name=f"n{number}") for number in range(5)]
    assert "SomeParams" not in _module(_query(params=tuple(numbered[:4])))
    assert "SomeParams" in _module(_query(params=tuple(numbered)))


def test_tables_are_named_in_the_singular_unless_an_option_says_otherwise() -> None:
    assert "class Item:" in _generated()["models.py"]
    assert "class Items:" in _generated(emit_exact_table_names=True)["models.py"]
    excluded = _generated(inflection_exclude_table_names=["items"])["models.py"]
    assert "class Items:" in excluded
    assert "class Note:" in excluded


def test_an_override_gives_a_type_to_what_has_none() -> None:
    columns = (ID, Column("path", db_type("ltree")), Column("address", db_type("inet"), not_null=True))
    request = replace(REQUEST, tables=(Table(ITEMS, columns),))
    overrides = [{"db_type": "ltree", "py_type": "str"}, {"db_type": "inet", "py_type": "ipaddress.IPv4Interface"}]
    models = _generated(request=request, overrides=overrides)["models.py"]
    assert "import ipaddress\n" in models
    assert "    path: str | None\n    address: ipaddress.IPv4Interface\n" in models


def test_an_override_goes_before_a_type_that_is_known() -> None:
    request = replace(REQUEST, tables=(Table(ITEMS, (Column("data", db_type("jsonb"), not_null=True),)),))
    models = _generated(request=request, overrides=[{"db_type": "jsonb", "py_type": "typing.Any"}])["models.py"]
    assert "    data: typing.Any\n" in models


def test_iterators_are_an_option() -> None:
    assert "iterate_some" not in _module(_query())
    assert "async def iterate_some(self) -> AsyncIterator[int]:" in _module(_query(), emit_iterators=True)


def test_a_name_says_whether_an_expression_may_be_null() -> None:
    row = (Column("a?", db_type("pg_catalog.int8"), not_null=True), Column("b!", db_type("pg_catalog.int8")), ID)
    assert "    a: int | None\n    b: int\n    id: int\n" in _module(_query(columns=row))


def test_a_row_with_all_columns_of_a_table_is_its_model() -> None:
    whole = tuple(replace(column, table=ITEMS) for column in (ID, NOTE))
    assert "-> list[models.Item]:" in _module(_query(columns=whole))
    assert "-> list[SomeRow]:" in _module(_query(columns=(whole[1], whole[0])))
    assert "-> list[SomeRow]:" in _module(_query(columns=(replace(whole[0], not_null=False), whole[1])))
    assert "-> list[SomeRow]:" in _module(_query(columns=(ID, NOTE)))


def test_columns_without_a_name_and_of_the_same_name_are_numbered() -> None:
    row = (ID, replace(ID, name=""), ID)
    assert "    id: int\n    column_2: int\n    id_2: int\n" in _module(_query(columns=row))


def test_a_name_that_python_needs_gets_an_underscore() -> None:
    params = tuple(replace(ID, name=name) for name in ("class", "row", "self"))
    row = tuple(replace(ID, name=name) for name in ("str", "2nd day", "value"))
    module = _module(_query("List", columns=row, params=params))
    assert "async def list_(self, *, class_: int, row_: int, self_: int) -> list[ListRow]:" in module
    assert "    str_: int\n    _2nd_day: int\n    value: int\n" in module


@pytest.mark.parametrize(
    ("comments", "docstring"),
    [
        ((), None),
        ((" Gives them.",), "Gives them."),
        ((' Ends in "quotes"',), 'Ends in "quotes"'),
        ((" Two", "   lines, \\n", "", ' and """more"""', ""), 'Two\n  lines, \\n\n\nand """more"""'),
    ],
)
def test_comments_are_docstrings_whatever_they_contain(comments: tuple[str, ...], docstring: str | None) -> None:
    [method] = _nodes(_module(_query(comments=comments)), ast.AsyncFunctionDef)
    assert ast.get_docstring(method) == docstring


def test_comments_on_tables_columns_and_enums_are_docstrings() -> None:
    request = replace(
        REQUEST,
        tables=(Table(ITEMS, (replace(ID, comment='Its "id"'), NOTE), comment="What there is."),),
        enums=(Enum(Identifier("public", "size"), ("s", "XL"), comment="How large."),),
    )
    models = _generated(request=request)["models.py"]
    size, item = _nodes(models, ast.ClassDef)
    assert (ast.get_docstring(size), ast.get_docstring(item)) == ("How large.", "What there is.")
    assert '    S = "s"\n    XL = "XL"\n' in models
    assert '    id: int\n    """Its \\"id\\""""\n    note: str | None\n' in models


def _nodes(module: str, kind: type[Node]) -> list[Node]:
    return [node for node in ast.walk(ast.parse(module)) if isinstance(node, kind)]


def test_the_text_of_a_statement_stays_as_it_is() -> None:
    text = 'SELECT \'\\d\', """", "é" FROM "a"'
    scope: dict[str, Any] = {}
    module = _module(_query(text=text))
    statement = module[module.index("SOME = ") : module.index("class ")]
    exec(statement, scope)
    assert scope["SOME"] == f"-- name: Some :many\n{text}\n"


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("orders", "order"),
        ("order_items", "order_item"),
        ("deliveries", "delivery"),
        ("boxes", "box"),
        ("batches", "batch"),
        ("addresses", "address"),
        ("address", "address"),
        ("statuses", "status"),
        ("status", "status"),
        ("warehouses", "warehouse"),
        ("prices", "price"),
        ("people", "person"),
        ("children", "child"),
        ("shelves", "shelf"),
        ("wives", "wife"),
        ("indices", "index"),
        ("analyses", "analysis"),
        ("series", "series"),
        ("metadata", "metadata"),
        ("data", "datum"),
        ("movies", "movie"),
        ("waves", "wave"),
        ("caves", "cave"),
        ("databases", "database"),
        ("outbox", "outbox"),
        ("money", "money"),
    ],
)
def test_the_singular_of_a_table(plural: str, singular: str) -> None:
    assert names.singular(plural) == singular
