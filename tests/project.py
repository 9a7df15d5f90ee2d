"""A copy of the project, for tests that change it."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.marketplace import ROOT

LISTED = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")


def copy_of_the_project(folder: Path) -> Path:
    """Its files, with the installed tools and what mypy knows of it. The gateway is still to be built."""
    listed = subprocess.run(LISTED, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # and not just deleted
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for name in (".venv", "third_party", "swagger-ui/node_modules"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "bin", folder / "bin", ignore=shutil.ignore_patterns("gateway", "plain-gateway"))
    if (ROOT / ".cache/mypy").exists():
        shutil.copytree(ROOT / ".cache/mypy", folder / ".cache/mypy")
    return folder


def environment_of(project: Path) -> dict[str, str]:
    """What makes Python find the modules of the copy and not ours."""
    paths = (project / name for name in ("", "gen/python", "gen/sql", "third_party/python"))
    return {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}


def run(project: Path, *command: str | Path, expect: int = 0) -> str:
    """Runs a command in the copy and gives what it prints."""
    environment = os.environ | environment_of(project)
    done = subprocess.run(command, cwd=project, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout
