"""Runs of schemathesis, each with the settings of schemathesis.toml against a marketplace of its own."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz import counts
from tests.fuzz.access import VARIABLE
from tests.marketplace import ROOT, healthy_marketplace

CONFIG = ROOT / "schemathesis.toml"
_TOKEN = '[auth.openapi.bearer]\nbearer = "testtoken"\n'
_OF_TWO_USERS = {"user": [1, 1, 2], "emptied-user": [2, 2, 2**63 - 1]}
_LEARNT = 'include-operation-id = ["ItemDelete", "Clear"]\n'
"""Of what it has learnt and deleted before, schemathesis tries one case more and stops."""
_CHECKED_OUT_AGAIN = """
# A cart that is empty can be checked out again under the id that it was checked out under.
[dictionaries.checkout]
values = ["8c6c9f0e-6d4b-4f0b-9a55-3f0c1f7f5c11"]

[[operations]]
include-operation-id = "Checkout"
parameters = { "body.requestId" = { dictionary = "checkout", probability = 0.8 } }

[[operations]]
include-operation-id = "Checkout_2"
parameters = { requestId = { dictionary = "checkout", probability = 0.8 } }
"""
_SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
_PASSED_ON = ("HOME", "LANG", "PATH", "TMPDIR")  # schemathesis reads all of the environment for every request
_POLL_SECONDS = 0.2
_LIMIT_SECONDS = 1800

Progress = Callable[[dict[str, Any], float], None]


@dataclass(frozen=True)
class Run:
    """What a run has shown."""

    exit_code: int
    output: str
    seconds: float
    counts: dict[str, Any]

    @property
    def failures(self) -> int:
        """The unique failures."""
        found = re.search(r"(\d+) unique failure", self.output)
        return int(found[1]) if found else 0

    @property
    def warnings(self) -> list[str]:
        return re.findall(r"^\s+⚠️\s*(.+)$", self.output, re.MULTILINE)

    @property
    def links(self) -> str:
        found = re.search(r"API Links:\s+(.+)", self.output)
        return found[1] if found else "none"

    @property
    def successes(self) -> dict[str, int]:
        """The answers 2xx of each operation."""
        return {
            name: sum(number for status, number in statuses.items() if status.startswith("2"))
            for name, statuses in self.counts.get("answers", {}).items()
        }

    def problems(self, successes: int) -> list[str]:
        """What is wrong with it, if every operation should have so many successes."""
        few = [f"{name} had {number} answers 2xx" for name, number in self.successes.items() if number < successes]
        found = [f"schemathesis ended with {self.exit_code}"] if self.exit_code else []
        return [*found, *few, *([] if self.counts else ["nothing was judged"])]


def fuzz(
    folder: Path, seed: int, examples: int, workers: int = 1, progress: Progress | None = None, *, access: bool = False
) -> Run:
    """A run against a fresh marketplace: with `access`, by two users with tokens. Both logs stay in the folder."""
    with healthy_marketplace(folder / f"marketplace-{seed}.log", **settings_of(folder, access=access)) as marketplace:
        options = ("--seed", str(seed), "--max-examples", str(examples), "--workers", str(workers))
        log, document = folder / f"schemathesis-{seed}", f"{marketplace.url}/openapi.json"
        if not access:
            return schemathesis(log, document, *options, progress=progress)
        config = config_of_two_users(log.with_suffix(".toml"))
        return schemathesis(log, document, *options, config=config, progress=progress, access_folder=folder / "access")


def settings_of(folder: Path, *, access: bool) -> dict[str, str]:
    """Those of the marketplace. Its key is in the folder."""
    on = {"MARKETPLACE_ACCESS": "on", "MARKETPLACE_ACCESS_FOLDER": str(folder / "access")}
    return {"MARKETPLACE_LOG_LEVEL": "error", **(on if access else {})}


def config_of_two_users(file: Path) -> Path:
    """The settings of schemathesis.toml, but for tokens, and for what takes more than two users."""
    text = _replaced(CONFIG.read_text(), re.escape(_TOKEN), "")
    text = _replaced(text, re.escape(_LEARNT), f"{_LEARNT}phases.fuzzing.extra-data-sources.responses = false\n")
    for name, values in _OF_TWO_USERS.items():
        text = _replaced(text, rf"^{name}\.values = .*$", f"{name}.values = {values}")
    file.write_text(text + _CHECKED_OUT_AGAIN)
    return file


def _replaced(text: str, pattern: str, by: str) -> str:
    new, number = re.subn(pattern, by, text, flags=re.MULTILINE)
    assert number == 1, pattern
    return new


def schemathesis(
    log: Path,
    document: str,
    *options: str,
    config: Path = CONFIG,
    progress: Progress | None = None,
    access_folder: Path | None = None,
) -> Run:
    """A run with these options; beside the log are its counts. The key in `access_folder` signs the users' tokens."""
    path = log.with_suffix(".json")
    path.unlink(missing_ok=True)
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {counts.VARIABLE: str(path)}
    if access_folder is not None:
        environment[VARIABLE] = str(access_folder)
    started = time.monotonic()
    with log.with_suffix(".log").open("w+") as output:
        process = subprocess.Popen(
            [_SCHEMATHESIS, "--config-file", config, "run", "--no-color", document, *options],
            cwd=ROOT,
            env=environment | {"COLUMNS": "120"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            _follow(process, started, path, progress)
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        return Run(process.returncode, output.read(), time.monotonic() - started, counts.read(path))


def _follow(process: subprocess.Popen[bytes], started: float, path: Path, progress: Progress | None) -> None:
    while process.poll() is None:
        seconds = time.monotonic() - started
        if seconds > _LIMIT_SECONDS:
            raise TimeoutError(f"schemathesis still runs after {seconds:.0f} s")
        if progress:
            progress(counts.read(path), seconds)
        time.sleep(_POLL_SECONDS)
