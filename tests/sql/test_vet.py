"""Queries that only a server refuses are found by `make lint`; `make generate` needs no server."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.sql.vet import CONFIG, SQLC, vet

QUERIES = "cart/queries/carts.sql"
REFUSED = {
    "SELECT c.version FROM carts AS c WHERE c.user_id = @user_id::text": "operator does not exist: bigint = text",
    "SELECT no_such_function(c.version)::bigint AS version FROM carts AS c": "no_such_function(bigint) does not exist",
    "SELECT c.version::text::no_such_type::text AS version FROM carts AS c": '"no_such_type"',
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """sqlc.yaml in a copy of sql/."""
    return shutil.copytree(CONFIG.parent, tmp_path / "sql") / CONFIG.name


def test_each_query_that_only_a_server_refuses_is_named_with_the_reason(config: Path, server: str) -> None:
    with (config.parent / QUERIES).open("a") as queries:
        for number, query in enumerate(REFUSED):
            queries.write(f"\n-- name: Refused{number} :many\n{query};\n")

    vetted = vet(config, server)

    assert vetted.returncode == 1
    told = vetted.stderr.splitlines()
    assert len(told) == len(REFUSED), vetted.stderr
    for number, (line, reason) in enumerate(zip(told, REFUSED.values(), strict=True)):
        assert f"{Path(QUERIES).name}: Refused{number}: " in line
        assert reason in line


def test_a_database_of_the_environment_is_left_alone_when_the_queries_are_compiled() -> None:
    urls = {f"{name}_DATABASE_URL": "postgresql://127.0.0.1:1/nowhere" for name in ("LOMS", "CART", "NOTIFIER")}

    command = (SQLC, "compile", "--file", CONFIG)
    compiled = subprocess.run(command, env=os.environ | urls, capture_output=True, text=True, check=False)

    assert (compiled.returncode, compiled.stderr) == (0, "")
