"""Proves that tests notice what breaks their promises: `make mutants`, or some: `python -m tests.mutants R-01 R-05`."""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.marketplace import ROOT
from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant, StaleError
from tests.mutants.runner import Copy, CopyError, Result


def main(words: Sequence[str]) -> int:
    mutants = [mutant for mutant in MUTANTS if not words or any(word in str(mutant) for word in words)]
    if not mutants:
        say("no mutant has one of these words\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        try:
            return run(mutants, Copy(ROOT, Path(folder).resolve()))
        except (StaleError, CopyError) as error:
            say(f"{error}\n")
            return 1


def run(mutants: Sequence[Mutant], copy: Copy) -> int:
    """Gives the exit code: 0 if the tests pass, and fail for each of the mutants."""
    for mutant in mutants:
        mutant.texts(copy.folder)
    copy.check_imports(sorted({edit.file for mutant in mutants for edit in mutant.edits}))
    tests = dict.fromkeys(test for mutant in mutants for test in mutant.tests)
    say(f"{len(tests)} tests without a mutant, at full size … ")
    started = time.monotonic()
    result = copy.run(tests, RACE_PERCENT="100")
    if not result.has_passed:
        say(f"they do not pass:\n{result.output}\n")
        return 1
    say(f"passed in {time.monotonic() - started:.0f} s\n")
    caught = sum(is_caught(f"{number}/{len(mutants)}", mutant, copy) for number, mutant in enumerate(mutants, 1))
    say(f"caught {caught} of {len(mutants)}\n")
    return 0 if caught == len(mutants) else 1


def is_caught(number: str, mutant: Mutant, copy: Copy) -> bool:
    """Runs the tests of a mutant, each by itself, and tells what came of it."""
    say(f"{number} {mutant.promise} | {mutant.name} … ")
    started = time.monotonic()
    with copy.mutated(mutant):
        results = {test: copy.run([test]) for test in mutant.tests}
    missed = {test: result for test, result in results.items() if not result.has_failed}
    say(f"{'MISSED' if missed else 'caught'} ({time.monotonic() - started:.0f} s)\n")
    for test, result in missed.items():
        say(f"    {test} {miss(result)}\n")
    for result in results.values():
        say("".join(f"    {failure}\n" for failure in result.failures))
    return not missed


def miss(result: Result) -> str:
    """Why a test has not noticed the mutant."""
    if result.has_passed:
        return "has passed"
    return f"has given no verdict, pytest ended with {result.exit_code}:\n{result.output}"


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
