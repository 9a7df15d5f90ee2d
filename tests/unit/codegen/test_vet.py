"""Queries that only a server refuses are found by `make lint`; `make generate` needs no server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.marketplace import ROOT

SQLC = Path(sys.executable).with_name("sqlc")
REFUSED = {
    "loms/queries/stocks.sql": "SELECT s.sku FROM stocks AS s WHERE s.sku = @sku::text",
    "cart/queries/carts.sql": "SELECT no_such_function(c.version)::bigint AS version FROM carts AS c",
    "notifier/queries/notifications.sql": "SELECT n.status::no_such_type::text AS status FROM notifications AS n",
}
REASONS = (
    "operator does not exist: bigint = text",
    "function no_such_function(bigint) does not exist",
    '"no_such_type"',
)


def run(*command: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a command without the databases that the environment may name."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_DATABASE_URL")}
    return subprocess.run(
        command, cwd=ROOT, env=environment | settings, capture_output=True, text=True, check=False, timeout=50
    )


def test_each_query_that_only_a_server_refuses_is_named_with_the_reason(tmp_path: Path) -> None:
    config = shutil.copytree(ROOT / "sql", tmp_path / "sql") / "sqlc.yaml"
    for name, query in REFUSED.items():
        with (config.parent / name).open("a") as queries:
            queries.write(f"\n-- name: Refused :many\n{query};\n")

    vetted = run(sys.executable, "-m", "services.vet", "--file", config)

    assert vetted.returncode == 1
    told = vetted.stderr.splitlines()
    assert len(told) == len(REFUSED), vetted.stderr
    for line, name, reason in zip(told, REFUSED, REASONS, strict=True):
        assert f"{Path(name).name}: Refused: " in line
        assert reason in line


def test_a_database_of_the_environment_is_left_alone_when_the_queries_are_compiled() -> None:
    urls = {f"{name}_DATABASE_URL": "postgresql://127.0.0.1:1/nowhere" for name in ("LOMS", "CART", "NOTIFIER")}

    compiled = run(SQLC, "compile", "--file", ROOT / "sql" / "sqlc.yaml", **urls)

    assert (compiled.returncode, compiled.stderr) == (0, "")
