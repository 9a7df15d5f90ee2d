"""What happened in a run of schemathesis."""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "FUZZ_COUNTS"
_MAX_SHARE = 0.01  # of cases that are dropped, or that the oracle cannot decide
_FEW = 200  # of so few cases a share says nothing


@dataclass
class Counts:
    """Counts as they are taken; each case counts once."""

    cases: set[str] = field(default_factory=set)
    answers: dict[str, Counter[int]] = field(default_factory=dict)
    """Of each operation, by status."""
    judged: int = 0
    undecided: Counter[str] = field(default_factory=Counter)
    """The cases that the oracle could not judge, by the reason for it."""
    dropped: int = 0
    failed: int = 0
    """Answers that the oracle found wrong."""

    def complaints(self) -> list[str]:
        """What is wrong with the run as a whole."""
        if len(self.cases) < _FEW:
            return []
        shares = {"dropped by the hook": self.dropped, "undecided by the oracle": self.undecided.total()}
        return [
            f"{number} of {len(self.cases)} cases were {what}: more than 1 %"
            for what, number in shares.items()
            if number > _MAX_SHARE * len(self.cases)
        ]

    def write(self) -> None:
        """For whoever started the run and named a file."""
        path = os.environ.get(VARIABLE)
        if not path:
            return
        found: dict[str, Any] = {name: getattr(self, name) for name in ("judged", "undecided", "dropped", "failed")}
        new = Path(f"{path}.new")
        new.write_text(json.dumps({"cases": len(self.cases), "answers": self.answers, **found}))
        new.replace(path)


def read(path: Path) -> dict[str, Any]:
    """The counts that a run has written so far."""
    return json.loads(path.read_text()) if path.exists() else {}
