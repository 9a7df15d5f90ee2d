"""The long tests: `make reliability`, or some: `python -m tests.reliability killed-leaders outage`."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.chassis.log import configure_logging
from tests.postgres import running_postgres
from tests.reliability.carts import CARTS_AND_CACHE
from tests.reliability.long_sending import SENDING
from tests.reliability.notifications import RECEIVING
from tests.reliability.report import Finding, Scenario, row, write

SCENARIOS: Mapping[str, Scenario] = {**SENDING, **RECEIVING, **CARTS_AND_CACHE}


def main(words: Sequence[str]) -> int:
    unknown = set(words) - set(SCENARIOS)
    if unknown:
        say(f"there is no {', '.join(sorted(unknown))}: there are {', '.join(SCENARIOS)}\n")
        return 1
    configure_logging("error", "json")
    rows: dict[str, str] = {}
    is_kept = True
    for name in words or SCENARIOS:
        scenario = SCENARIOS[name]
        say(f"{name}: {scenario.happening} … ")
        began = time.monotonic()
        finding = run(scenario)
        say(f"{'kept' if finding.is_kept else 'BROKEN'} ({time.monotonic() - began:.0f} s)\n    {finding.found}\n")
        is_kept &= finding.is_kept
        rows[name] = row(name, scenario.happening, finding)
        write([*SCENARIOS], rows)
    return 0 if is_kept else 1


def run(scenario: Scenario) -> Finding:
    """Runs it on a PostgreSQL of its own."""
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder, running_postgres() as server:
        try:
            return asyncio.run(scenario.run(server, Path(folder)))
        except (AssertionError, TimeoutError) as error:
            return Finding(f"it did not come to its end: {error!r}", is_kept=False)


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
