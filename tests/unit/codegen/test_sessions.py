"""What needs a session of its own is found where a pooler may be in between, and nothing else is."""

from pathlib import Path

import pytest

from codegen.sessions import EXEMPT, ROOT, Finding, Found, findings, of_module, of_queries, sources

IN_SQL = [
    ("LISTEN orders", "LISTEN"),
    ("UNLISTEN *", "LISTEN"),
    ("SELECT pg_advisory_lock(1)", "_xact_"),
    ("SELECT pg_advisory_lock_shared (1)", "_xact_"),
    ("SELECT pg_try_advisory_lock(1, 2)", "_xact_"),
    ("SELECT pg_try_advisory_lock_shared(1)", "_xact_"),
    ("SELECT pg_catalog.pg_advisory_unlock_all()", "_xact_"),
    ("SET work_mem = '1GB'", "SET LOCAL"),
    ("SET SESSION work_mem = '1GB'", "SET LOCAL"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET LOCAL"),
    ("SET TIME ZONE 'UTC'", "SET LOCAL"),
    ("SELECT 1; SET ROLE nobody", "SET LOCAL"),
    ("/* of the session */ SET ROLE nobody", "SET LOCAL"),
    ("SELECT set_config('work_mem', '1GB', false)", "set_config"),
    ("SELECT set_config('work_mem', @value, @is_local)", "set_config"),
    ("SELECT set_config('a.b', 'x, true)', false)", "set_config"),
    ("SELECT set_config('a.b', 'c', false), set_config('a.d', 'e', true)", "set_config"),
    ("RESET ALL", "RESET"),
    ("DISCARD ALL", "DISCARD"),
    ("LOAD 'auto_explain'", "LOAD"),
    ("CREATE TEMP TABLE wanted (sku bigint)", "temporary table"),
    ("CREATE LOCAL TEMPORARY TABLE wanted AS SELECT 1", "temporary table"),
    ("CREATE OR REPLACE TEMP VIEW wanted AS SELECT 1", "temporary table"),
    ("SELECT 1 AS sku INTO TEMP wanted", "temporary table"),
    ("CREATE TABLE pg_temp.wanted (sku bigint)", "temporary table"),
    ("DECLARE all_orders CURSOR WITH HOLD FOR SELECT 1", "WITH HOLD"),
    ("PREPARE one AS SELECT 1", "PREPARE"),
    ("PREPARE one (bigint) AS SELECT $1", "PREPARE"),
    ("DEALLOCATE ALL", "DEALLOCATE"),
    ("DO $$ BEGIN PERFORM pg_advisory_lock(1); END $$", "_xact_"),
    ("DO $do$ BEGIN SET work_mem = '1GB'; END $do$", "SET LOCAL"),
]
NOT_IN_SQL = [
    "SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2), pg_advisory_xact_lock_shared(3)",
    "SET LOCAL work_mem = '1GB'",
    "SET  LOCAL work_mem = '1GB'",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET CONSTRAINTS ALL DEFERRED",
    "UPDATE carts\nSET version = 1",
    "INSERT INTO carts (user_id) VALUES (1) ON CONFLICT (user_id) DO UPDATE SET user_id = 1",
    "ALTER DATABASE loms SET jit = off",
    "SELECT set_config('work_mem', coalesce(@value, '1GB'), true)",
    "SELECT current_setting('work_mem')",
    "NOTIFY orders",
    "DECLARE all_orders CURSOR FOR SELECT 1",
    "WITH hold AS (SELECT 1) SELECT * FROM hold",
    "INSERT INTO temp SELECT 1",
    "CREATE TABLE templates (name text)",
    "PREPARE TRANSACTION 'one'",
    "SELECT 1 -- ; LISTEN orders; SELECT pg_advisory_lock(1)",
    "SELECT '; SET ROLE nobody', E'it\\'s ; RESET ALL', 'pg_advisory_lock(1)'",
    'SELECT 1 AS "; SET x"',
]
IN_PYTHON = [
    ("await connection.add_listener('orders', heard)", "add_listener"),
    ("await connection.prepare(query)", "prepare"),
    ("await connection.set_type_codec('json', encoder=dumps, decoder=loads)", "set_type_codec"),
    ("await connection.set_builtin_type_codec('hstore', codec_name='pg_contrib.hstore')", "set_builtin_type_codec"),
    ("await connection.copy_records_to_table('orders', records=[])", "copy_records_to_table"),
    ("await connection.copy_to_table('orders', source=file)", "copy_to_table"),
    ("listen = connection.add_listener", "add_listener"),
    ("await asyncpg.connect(url, server_settings={'statement_timeout': '0'})", "server_settings"),
    ("await create_pool(url, server_settings={'application_name': 'x', 'jit': 'off'})", "server_settings"),
    ("await create_pool(url, server_settings=SETTINGS)", "server_settings"),
    ("LOCK = 'SELECT pg_advisory_lock(1)'", "_xact_"),
    ("LOCK = 'select pg_advisory_lock(1)'", "_xact_"),
    ("WAIT = 'SET lock_timeout = 1'", "SET LOCAL"),
    ("await connection.execute('set lock_timeout = 1')", "SET LOCAL"),
    ("await connection.execute(f'SET lock_timeout = {ceil(seconds)}')", "SET LOCAL"),
    ("await connection.execute(f'set {name} = 1')", "SET LOCAL"),
    ("await connection.execute('SET ' + setting)", "SET LOCAL"),
    ("await connection.execute('LISTEN {}'.format(channel))", "LISTEN"),
    ("await connection.execute(f'{connection.prepare(query)}')", "prepare"),
]
NOT_IN_PYTHON = [
    "async for row in connection.cursor('SELECT 1'): pass",
    "await asyncpg.connect(url, server_settings={'application_name': 'migrations'})",
    "await connection.execute('SET LOCAL lock_timeout = 1')",
    "await connection.execute(f'SET LOCAL lock_timeout = {ceil(seconds)}')",
    "await connection.execute('UPDATE carts SET version = 1')",
    "# SELECT pg_advisory_lock(1); SET x = 1\npass",
    "'''Takes a pg_advisory_lock(1).'''",
    "class Holder:\n    lock: int\n    '''SET by pg_advisory_lock(1).'''",
    "raise StartError(f'set {variable}')",
    "log.info('listen on this address; reset it')",
    "number = 1",
]


def reasons(found: Found) -> list[str]:
    return [reason for _, reason in found]


@pytest.mark.parametrize(("sql", "reason"), IN_SQL)
@pytest.mark.parametrize("change", [str, str.lower])
def test_sql_that_needs_a_session_is_found(sql: str, reason: str, change: type[str]) -> None:
    [found] = reasons(of_queries(f"-- name: Some :exec\n{change(sql)};\n"))

    assert reason in found


@pytest.mark.parametrize("sql", NOT_IN_SQL)
def test_sql_that_needs_a_transaction_at_most_is_not(sql: str) -> None:
    assert reasons(of_queries(f"-- name: Some :exec\n{sql};\n")) == []


def test_a_query_that_copies_is_found() -> None:
    [found] = reasons(of_queries("-- name: Some :copyfrom\nINSERT INTO stocks (sku) VALUES ($1);\n"))

    assert "prepares a statement" in found


@pytest.mark.parametrize(("source", "reason"), IN_PYTHON)
def test_python_that_needs_a_session_is_found(source: str, reason: str) -> None:
    [found] = reasons(of_module(f"async def work():\n    {source}\n"))

    assert reason in found


@pytest.mark.parametrize("source", NOT_IN_PYTHON)
def test_python_that_needs_a_transaction_at_most_is_not(source: str) -> None:
    assert reasons(of_module(source if "await" not in source else f"async def work():\n    {source}\n")) == []


def test_a_finding_names_the_line() -> None:
    sql = "-- name: Some :exec\n/* one\ntwo */ SELECT '\n';\nSET ROLE nobody;\n"

    assert [line for line, _ in of_queries(sql)] == [5]
    assert [line for line, _ in of_module(f'FIRST = 1\nQUERY = """{sql}"""\n')] == [6]
    assert [line for line, _ in of_module("(\n    connection\n    .prepare(query)\n)\n")] == [3]


def project(folder: Path, module: str) -> Path:
    """A project of one module and one file of queries."""
    for name, text in (("services/some/postgres.py", module), ("sql/some/queries/all.sql", "SELECT 1;\nRESET ALL;\n")):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    return folder


def test_what_is_found_is_told_with_its_file(tmp_path: Path) -> None:
    found = findings(project(tmp_path, "await_ = connection.prepare\n"), exempt={})

    assert [str(finding).rpartition(":")[0] for finding in found] == [
        "services/some/postgres.py:1: prepare",
        "sql/some/queries/all.sql:2",
    ]


def test_an_exempt_file_may_need_a_session(tmp_path: Path) -> None:
    exempt = {"services/some/postgres.py": "it is alone", "sql/some/queries/all.sql": "it is alone"}

    assert findings(project(tmp_path, "await_ = connection.prepare\n"), exempt) == []


@pytest.mark.parametrize("name", ["services/some/postgres.py", "services/some/gone.py"])
def test_an_exemption_that_exempts_nothing_is_found(tmp_path: Path, name: str) -> None:
    exempt = {name: "it is alone", "sql/some/queries/all.sql": "it is alone"}

    assert findings(project(tmp_path, "number = 1\n"), exempt) == [
        Finding(name, 1, "exempt, as it is alone, but nothing here needs a session")
    ]


def test_nothing_of_the_project_needs_a_session_but_what_is_exempt() -> None:
    assert findings(ROOT) == []
    assert {finding.path for finding in findings(ROOT, exempt={})} == EXEMPT.keys()


def test_all_queries_and_all_of_the_services_are_looked_through() -> None:
    looked_through = {path.relative_to(ROOT).as_posix() for path in sources(ROOT)}

    assert looked_through >= {
        *(f"sql/{service}/queries/{name}.sql" for service, name in (("loms", "orders"), ("cart", "carts"))),
        *(f"services/{name}.py" for name in ("migrate", "chassis/postgres", "loms/postgres", "cart/postgres")),
    }
