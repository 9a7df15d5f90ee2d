"""What rules let through, and which of two versions of them lets more through.

A constraint is within another one if whatever it lets through passes there as well.
Where there is no constraint, that is None, everything passes.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

End = tuple[Any, ...]  # the end of a range: a value, and which side of it


class Change(enum.Enum):
    TIGHTENED = "tightened"
    LOOSENED = "loosened"
    OTHER = "changed"  # some values pass no longer and others do now, or nobody can tell


@dataclass(frozen=True)
class Demands:
    """A value passes if it meets all of them."""

    of: frozenset[str]

    def within(self, other: "Demands") -> bool:
        return self.of >= other.of


@dataclass(frozen=True)
class Choice:
    """A value passes if it is one of them."""

    of: frozenset[str]

    def within(self, other: "Choice") -> bool:
        return self.of <= other.of


@dataclass(frozen=True)
class Ranges:
    """A value passes if it is in one of them. Each has its ends inside."""

    of: tuple[tuple[End, End], ...]

    def within(self, other: "Ranges") -> bool:
        return all(any(low <= first and last <= high for low, high in other.of) for first, last in self.of)


Constraint = Demands | Choice | Ranges


@dataclass(frozen=True)
class Said:
    """A constraint, and the rules that make it, as texts."""

    rules: tuple[str, ...] = ()
    constraint: Constraint | None = None
    needs_both: bool = False
    """Whether it says something only in comparison with another one of its name."""


_NOTHING = Said()


def changes(old: Mapping[str, Said], new: Mapping[str, Said]) -> list[tuple[Change, str]]:
    """What changed between two versions of an element, and from which rules to which. Constraints meet by name."""
    found: list[tuple[Change, str]] = []
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name, _NOTHING), new.get(name, _NOTHING)
        change = _change(before, after)
        if change is not None:
            found.append((change, f"{_shown(before, after)} → {_shown(after, before)}"))
    return found


def _change(old: Said, new: Said) -> Change | None:
    if (old.needs_both or new.needs_both) and _NOTHING in {old, new}:
        return None
    narrower, wider = _within(new.constraint, old.constraint), _within(old.constraint, new.constraint)
    if narrower and wider:
        return None
    return Change.TIGHTENED if narrower else Change.LOOSENED if wider else Change.OTHER


def _within(narrow: Constraint | None, wide: Constraint | None) -> bool:
    if narrow is None or wide is None:
        return wide is None
    return type(narrow) is type(wide) and narrow.within(wide)  # type: ignore[arg-type]  # mypy pairs every two classes


def _shown(said: Said, other: Said) -> str:
    """The rules that the other one lacks."""
    return ", ".join(rule for rule in said.rules if rule not in other.rules) or "none"
