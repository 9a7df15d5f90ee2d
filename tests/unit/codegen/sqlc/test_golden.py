"""What sqlc and the plugin make of schema.sql and queries/, for every kind of query and type: the files in golden/.

After a change that is meant: `.venv/bin/sqlc generate -f tests/unit/codegen/sqlc/sqlc.yaml`.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
GOLDEN = HERE / "golden"


def _run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name(tool)), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_golden_files_are_what_is_generated() -> None:
    found = _run("sqlc", "diff", "-f", str(HERE / "sqlc.yaml"))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_there_is_a_module_for_each_file_of_queries_and_one_for_models_and_connections() -> None:
    expected = {f"{path.stem}.py" for path in (HERE / "queries").iterdir()} | {"connections.py", "models.py"}
    assert {path.name for path in GOLDEN.glob("*.py")} == expected


def test_a_type_checker_accepts_them_and_refuses_their_misuse() -> None:
    files = [str(path) for path in (*GOLDEN.glob("*.py"), HERE / "uses.py")]
    own = ["--config-file=", "--namespace-packages", "--explicit-package-bases", "--cache-dir=.cache/mypy-sqlc"]
    found = _run("mypy", "--strict", *own, *files)
    assert (found.returncode, found.stdout) == (0, f"Success: no issues found in {len(files)} source files\n")


def test_the_modules_are_formatted() -> None:
    found = _run("ruff", "format", "--isolated", "--line-length=120", "--check", str(GOLDEN))
    assert found.returncode == 0, found.stdout
