"""`make service` makes a service that is complete at once, and `make service/remove` leaves nothing of it."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from codegen.service import names, scaffold
from codegen.service.names import LONGEST, check_name
from codegen.service.scaffold import QUIETLY, RUFF, ScaffoldError, add, remove
from codegen.service.wiring import WIRING
from tests.e2e.expect import broken_rules_of, reason_of
from tests.marketplace import ROOT, environment_on_free_ports, started
from tests.project import copy_of_the_project, environment_of, run

README = (ROOT / "README.md").read_text()
TESTS = (
    *("tests/unit/test_trials_usecases.py", "tests/rpc/test_trials.py", "tests/storage/test_trials_storage.py"),
    *("tests/sql/test_trials_queries.py", "tests/sql/test_constraints.py", "tests/sql/test_plans.py"),
    *("tests/sql/test_completeness.py", "tests/contract/test_schema.py", "tests/compose/test_tables.py"),
)
"""Its own, and those that take each service in turn."""
PASSED = 40
"""At least so many of them are about it."""
FREE = "127.0.0.1:0"
ENTRY = "/trials/7/1076963"

Tree = dict[str, bytes]
"""What is in each file."""


@pytest.mark.timeout(240)
def test_a_new_service_is_complete_at_once_and_goes_without_a_trace(tmp_path: Path) -> None:
    project = copy_of_the_project(tmp_path / "project")
    commit_everything(project)

    run(project, "make", "service", "NAME=trials")
    assert_the_readme_lists_what_is_written(project)
    assert_it_passes_what_every_service_passes(project)
    assert_it_answers(project, tmp_path / "log")
    run(project, "make", "service/remove", "NAME=trials")

    assert statuses(project) == {}
    assert [path for path in project.rglob("*trials*") if ".cache" not in path.parts] == []


def commit_everything(project: Path) -> None:
    run(project, "git", "init", "--quiet")
    run(project, "git", "add", "--all")
    somebody = ("-c", "user.name=somebody", "-c", "user.email=somebody@localhost", "-c", "commit.gpgsign=false")
    run(project, "git", *somebody, "commit", "--quiet", "--no-verify", "--message=as it is")


def statuses(project: Path) -> dict[str, str]:
    """What git says of each file that is not as it was committed: two letters, for the index and for the file."""
    lines = run(project, "git", "status", "--porcelain", "--untracked-files=all").splitlines()
    return {line[3:]: line[:2] for line in lines}


def assert_the_readme_lists_what_is_written(project: Path) -> None:
    section = README[README.index("## A new service\n") :].split("\n## ")[0].replace("reviews", "trials")
    listed = {path for path in re.findall(r"(?<!\[)`([\w./]+)`", section) if (project / path).exists()}
    found = statuses(project)

    assert [file for file in found if not any(file.startswith(path) for path in listed)] == []
    assert [path for path in listed if not any(file.startswith(path) for file in found)] == []
    assert {status[1] for file, status in found.items() if file.startswith("gen/")} == {" "}  # it is in the index


def assert_it_passes_what_every_service_passes(project: Path) -> None:
    programs = project / ".venv/bin"
    modules = [file for file in statuses(project) if re.fullmatch(r"(?!gen/).*\.py", file)]
    run(project, programs / "ruff", "check", *modules)
    run(project, programs / "ruff", "format", "--check", *modules)
    run(project, programs / "mypy", *modules)
    run(project, programs / "lint-imports", "--config", "pyproject.toml")
    run(project, programs / "buf", "lint")
    run(project, programs / "buf", "format", "--exit-code", "api")
    run(project, "make", "bin/gateway")
    run(project, sys.executable, "-m", "compose.check", "compose/compose.yaml")
    passed = run(project, programs / "pytest", "-q", "-n0", *TESTS, "-k", "trials")

    assert int(re.findall(r"(\d+) passed", passed)[0]) >= PASSED


def assert_it_answers(project: Path, log: Path) -> None:
    settings = environment_on_free_ports() | {"TRIALS_LISTEN": FREE, "TRIALS_SIDE_LISTEN": FREE}
    command = ("env", f"--chdir={project}", sys.executable, "-m", "services", "--gateway", project / "bin/gateway")
    with started(log, *command, **environment_of(project), **settings) as marketplace:
        health = marketplace.answer(f"{marketplace.url}/healthz").json()
        with httpx.Client(base_url=marketplace.url, trust_env=False) as http:
            stored = http.post(ENTRY, json={"count": 2})
            got, listed = http.get(ENTRY), http.get("/trials/7")
            refused, missing = http.post(ENTRY, json={"count": 0}), http.get("/trials/7/1")
            document, page = http.get("/openapi.json"), http.get("/")

    assert health["services"]["trials"] == "SERVING"
    assert [answer.json() for answer in (stored, got)] == [{}, {"count": 2}]
    assert listed.json() == {"entries": [{"sku": 1076963, "count": 2}]}
    assert broken_rules_of(refused) == {("count", "uint32.gte_lte")}
    assert reason_of(missing) == (404, "ENTRY_NOT_FOUND")
    assert routes(document.json()) == {("post", ENTRY_PATH), ("get", ENTRY_PATH), ("get", "/trials/{userId}")}
    assert 'id="swagger-ui"' in page.text


ENTRY_PATH = "/trials/{userId}/{sku}"


def routes(document: dict[str, dict[str, dict[str, object]]]) -> set[tuple[str, str]]:
    """Those of the service in the document."""
    return {(verb, path) for path, verbs in document["paths"].items() for verb in verbs if "trials" in path}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that has no more than what a new service is made by."""
    kept = [*(lines.file for lines in WIRING), *relative("services/**/*.py"), *relative("services/**/*.go")]
    for name in {*kept, *relative("api/marketplace/**/*.proto")}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    monkeypatch.setattr(scaffold, "ROOT", tmp_path)
    monkeypatch.setattr(names, "ROOT", tmp_path)
    return tmp_path


def relative(pattern: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)]


def content(tree: Path) -> Tree:
    files = (path for path in tree.rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {str(path.relative_to(tree)): path.read_bytes() for path in files}


def test_services_come_and_go_in_any_order(tree: Path) -> None:
    at_first = content(tree)
    add("alerts")
    with_one = content(tree)
    add("zones")
    with_two = content(tree)

    remove("alerts")
    assert content(tree) not in (at_first, with_one, with_two)
    add("alerts")
    remove("zones")
    assert content(tree).keys() == with_one.keys()
    remove("alerts")
    assert content(tree) == at_first


def test_each_service_listens_on_the_next_free_ports(tree: Path) -> None:
    taken = {port for file in tree.rglob("services/**/__main__.py") for port in ports_of(file)}
    last = [max(port for port in taken if port // 1000 == thousands) for thousands in (50, 9)]
    for number, name in enumerate(("alerts", "zones"), 1):
        add(name)
        assert ports_of(tree / "services" / name / "__main__.py") == [port + number for port in last]
        listed = (tree / "services/gateway/services.go").read_text()
        assert f'"GATEWAY_{name.upper()}_ADDRESS", "127.0.0.1:{last[0] + number}"' in listed


def ports_of(file: Path) -> list[int]:
    """The ports that the settings of a service name."""
    return [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", file.read_text())]


@pytest.mark.parametrize("name", ["q", "q" * LONGEST])
def test_names_of_every_length_leave_clean_code(tree: Path, name: str) -> None:
    check_name(name)
    add(name)

    own = tree / "services" / name
    run(tree, RUFF, "check", *QUIETLY, own, *tree.rglob(f"test_{name}*.py"), tree / "services/__main__.py")
    run(tree, RUFF, "format", "--check", tree)


def rewrite(file: Path, old: str, new: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


CHANGES: dict[str, Callable[[Path], object]] = {
    "services/trials/usecases.py": lambda tree: rewrite(tree / "services/trials/usecases.py", "100", "50"),
    "services/trials/clients.py": lambda tree: (tree / "services/trials/clients.py").touch(),
    "tests/rpc/test_trials.py": lambda tree: (tree / "tests/rpc/test_trials.py").unlink(),
    "services/__main__.py": lambda tree: rewrite(tree / "services/__main__.py", "trials(settings.trials)", "other()"),
}


@pytest.mark.parametrize("file", CHANGES)
def test_what_was_changed_since_is_named_and_goes_only_by_force(tree: Path, file: str) -> None:
    at_first = content(tree)
    add("trials")
    CHANGES[file](tree)
    before = content(tree)

    with pytest.raises(ScaffoldError, match=rf"FORCE=1 .*:\n{file}$"):
        remove("trials")
    assert content(tree) == before
    remove("trials", force=True)
    assert content(tree).keys() == at_first.keys()


@pytest.mark.parametrize("name", ["cart", "product", "chassis", "trials", "../x", ""])
def test_what_was_not_made_is_not_taken_away_even_by_force(tree: Path, name: str) -> None:
    before = content(tree)

    with pytest.raises(ScaffoldError, match=r"no such service|has not made it"):
        remove(name, force=True)
    assert content(tree) == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *[(name, "must be a word") for name in ("", "Reviews", "my-trials", "my_trials", "1st", "../x", "q" * 21)],
        *[(name, "there is one already") for name in ("cart", "chassis", "token")],
        *[(name, "a word of PostgreSQL") for name in ("order", "user", "postgres")],
        *[(name, "a word of Python") for name in ("class", "match", "list")],
        ("internal", "a word of Go"),
        ("otel", "settings that begin with it"),
        ("checkout", "routes that begin with /checkout"),
        ("settings", "another use for this word"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(ScaffoldError, match=rf"^NAME={re.escape(name)}: .*{reason}"):
        check_name(name)


def test_a_name_that_a_file_has_already_is_refused(tree: Path) -> None:
    check_name("trials")
    test = tree / "tests/rpc/test_trials.py"
    test.parent.mkdir(parents=True)
    test.touch()

    with pytest.raises(ScaffoldError, match="there are files of this name"):
        check_name("trials")


def test_a_list_of_another_form_is_named_before_anything_is_written(tree: Path) -> None:
    rewrite(tree / "tests/sql/test_plans.py", "CASES = ", "ALL_CASES = ")
    before = content(tree)

    with pytest.raises(ScaffoldError, match=r"tests/sql/test_plans\.py"):
        add("trials")
    assert content(tree) == before
