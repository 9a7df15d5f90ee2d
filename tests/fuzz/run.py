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
from tests.marketplace import ROOT, healthy_marketplace

CONFIG = ROOT / "schemathesis.toml"
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


def fuzz(folder: Path, seed: int, examples: int, workers: int = 1, progress: Progress | None = None) -> Run:
    """A run against a fresh marketplace. The log of both stay in the folder."""
    with healthy_marketplace(folder / f"marketplace-{seed}.log", MARKETPLACE_LOG_LEVEL="error") as marketplace:
        options = ("--seed", str(seed), "--max-examples", str(examples), "--workers", str(workers))
        name = f"schemathesis-{seed}"
        return schemathesis(folder / name, f"{marketplace.url}/openapi.json", *options, progress=progress)


def schemathesis(
    log: Path, document: str, *options: str, config: Path = CONFIG, progress: Progress | None = None
) -> Run:
    """A run with these options; beside the log are its counts."""
    path = log.with_suffix(".json")
    path.unlink(missing_ok=True)
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {counts.VARIABLE: str(path)}
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
