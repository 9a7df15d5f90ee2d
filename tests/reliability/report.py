"""What the long tests have found, as a table in docs/reliability.md."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.chassis.clock import utc_now
from tests.marketplace import ROOT

REPORT = ROOT / "docs" / "reliability.md"
HEAD = """# Reliability

Written by `make reliability`, which runs the services as processes on real servers: PostgreSQL 17 and Kafka 4.3.1.
`python -m tests.reliability <name> …` runs some of it anew. The short forms are in `tests/events` and `tests/cache`.
R-11 and so on are the numbers of promises, by which mutants and tests name them, too.

| test | what happens | found | kept | on |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Finding:
    """What came of a long test."""

    found: str
    is_kept: bool


@dataclass(frozen=True)
class Scenario:
    """A long test."""

    happening: str
    """What happens, and how often."""
    run: Callable[[str, Path], Coroutine[None, None, Finding]]
    """Does it with a PostgreSQL server and an empty folder."""


def row(name: str, happening: str, finding: Finding) -> str:
    """A line of the table."""
    is_kept = "yes" if finding.is_kept else "**no**"
    return f"| {name} | {happening} | {finding.found} | {is_kept} | {utc_now():%Y-%m-%d} |"


def write(names: Sequence[str], rows: Mapping[str, str]) -> None:
    """Writes the rows in the order of the names; those of tests that were not run stay as they are."""
    lines = REPORT.read_text().splitlines() if REPORT.exists() else []
    known = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
    known.update(rows)
    REPORT.write_text(HEAD + "".join(f"{known[name]}\n" for name in names if name in known))
