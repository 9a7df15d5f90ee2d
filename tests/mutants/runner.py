"""Runs tests on a copy of the sources, in which one mutant lives at a time."""

import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.mutants.mutant import Mutant

COPIED = ("api", "codegen", "compose", "gen", "pyproject.toml", "services", "sql", "tests")
LINKED = ("bin", "third_party")
IMPORTED = (".", "gen/python", "gen/sql", "third_party/python")
# The other plugins need longer to load than most tests to run.
OPTIONS = ("-q", "-x", "-p", "asyncio", "-p", "timeout")
LIMIT_SECONDS = 600
TESTS_FAILED = 1
FILES = "import importlib, sys; print(*(importlib.import_module(name).__file__ for name in sys.argv[1:]), sep='\\n')"


class CopyError(Exception):
    """The copy is not what would be tested."""


@dataclass(frozen=True)
class Result:
    """What a run of tests has shown."""

    exit_code: int
    failures: tuple[str, ...]
    """The tests that have failed, each with the reason. Errors before and after a test are none."""
    output: str

    @property
    def has_passed(self) -> bool:
        return self.exit_code == 0

    @property
    def has_failed(self) -> bool:
        """Whether a test has failed: not its fixtures, and not pytest itself."""
        return self.exit_code == TESTS_FAILED and bool(self.failures)


class Copy:
    """A copy of the sources of a project in a folder."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        self._report = folder / "report.xml"
        for name in COPIED:
            copy(root / name, folder / name)
        for name in LINKED:
            (folder / name).symlink_to(root / name)

    def check_imports(self, files: Collection[str]) -> None:
        """Raises CopyError unless Python imports these files from the copy."""
        modules = {module(file): str(self.folder / file) for file in files if file.endswith(".py")}
        found = self._python("-c", FILES, *modules)
        if found.stdout.split() != list(modules.values()):
            raise CopyError(f"Python does not import the copy:\n{found.stdout}{found.stderr}")

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """The mutant lives in the copy within the block. Raises StaleError."""
        texts = mutant.texts(self.folder)
        originals = {file: (self.folder / file).read_text() for file in texts}
        self._write(texts)
        try:
            yield
        finally:
            self._write(originals)

    def run(self, tests: Iterable[str], **settings: str) -> Result:
        """Runs tests until one of them fails, with these variables in their environment."""
        self._report.unlink(missing_ok=True)
        done = self._python("-m", "pytest", *OPTIONS, f"--junitxml={self._report}", *tests, **settings)
        return Result(done.returncode, failures(self._report), done.stdout + done.stderr)

    def _write(self, texts: Mapping[str, str]) -> None:
        for file, text in texts.items():
            (self.folder / file).write_text(text)

    def _python(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(str(self.folder / name) for name in IMPORTED)
        # What is compiled is not kept: of two mutants in one second Python would take the first.
        own = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=os.environ | own | settings | {"PYTEST_ADDOPTS": ""},  # what the whole suite was told is not for a part
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    elif source.exists():
        shutil.copy(source, target)


def module(file: str) -> str:
    """The name under which Python imports a file."""
    for folder in ("gen/python/", "gen/sql/"):
        file = file.removeprefix(folder)
    return file.removesuffix(".py").replace("/", ".")


def failures(report: Path) -> tuple[str, ...]:
    """The failures of a report, each in one line."""
    if not report.exists():
        return ()
    cases = ET.parse(report).iter("testcase")
    return tuple(f"{case.get('name')}: {reason(failure)}" for case in cases for failure in case.findall("failure"))


def reason(failure: ET.Element) -> str:
    return " ".join(failure.get("message", "").split())[:200]
