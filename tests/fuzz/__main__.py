"""Fuzzes the marketplace through HTTP, with a fresh one for every seed: `make fuzz SEEDS="1 2 3" EXAMPLES=100`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from tests.fuzz.run import Run, fuzz
from tests.marketplace import ROOT

FOLDER = ROOT / ".cache" / "fuzz"
SUCCESSES = 30
"""How many answers 2xx each operation should have in a run; fewer in one of less than `ENOUGH` examples."""
ENOUGH = 80


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--examples", type=int, default=100, help="cases of each operation and phase, at most")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--access", action="store_true", help="with access on, by two users with tokens")
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    runs = {
        seed: _run(seed, arguments.examples, arguments.workers, access=arguments.access) for seed in arguments.seeds
    }
    wanted = successes(arguments.examples)
    bad = {seed: problems for seed, run in runs.items() if (problems := run.problems(wanted))}
    cases = sum(run.counts.get("cases", 0) for run in runs.values())
    _say(f"{len(runs)} runs, {cases:,} cases, {len(bad)} runs with problems\n")
    for seed, problems in bad.items():
        _say(f"  seed {seed}: {'; '.join(problems)} ({Path(FOLDER, f'schemathesis-{seed}.log')})\n")
    return 1 if bad else 0


def successes(examples: int) -> int:
    """How many answers 2xx each operation should have in a run of so many examples."""
    return SUCCESSES * min(examples, ENOUGH) // ENOUGH


def _run(seed: int, examples: int, workers: int, *, access: bool) -> Run:
    def progress(counts: dict[str, Any], seconds: float) -> None:
        line = f"seed {seed}: {counts.get('cases', 0):,} cases, {counts.get('failed', 0)} wrong, {seconds:.0f} s"
        if sys.stdout.isatty():
            _say(f"\r{line}")

    _say(f"seed {seed} …")
    run = fuzz(FOLDER, seed, examples, workers, progress, access=access)
    _say(f"\r{summary(seed, run)}\n")
    if run.exit_code:
        _say(run.output)
    return run


def summary(seed: int, run: Run) -> str:
    """A few lines on a run."""
    found = run.counts
    lines = [
        f"seed {seed}: {found.get('cases', 0):,} cases in {run.seconds:.0f} s, {run.failures} failures",
        f"  {found.get('dropped', 0)} dropped, {found.get('judged', 0):,} judged by the oracle, links {run.links}",
        "  2xx: " + ", ".join(f"{name} {number}" for name, number in run.successes.items()),
        *(f"  warning: {warning}" for warning in run.warnings),
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
