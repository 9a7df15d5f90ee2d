"""A mutant: a change of the sources that breaks a promise, and the tests that have to notice."""

from dataclasses import dataclass
from pathlib import Path


class StaleError(Exception):
    """The sources have changed: the mutant has to be written anew."""


@dataclass(frozen=True)
class Edit:
    """A text of a file and what becomes of it, everywhere it stands."""

    file: str
    old: str
    new: str
    times: int = 1

    def of(self, text: str) -> str:
        """The text of the file with it. Raises StaleError when the old text is not there so many times."""
        found = text.count(self.old)
        if found != self.times:
            raise StaleError(f"{self.file} has it {found} times instead of {self.times}: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutant:
    """What it does, and the promise that it breaks."""

    promise: str
    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    """Ids of pytest. Each of them has to fail."""

    def texts(self, root: Path) -> dict[str, str]:
        """The files that it changes, with it. Raises StaleError."""
        texts: dict[str, str] = {}
        for edit in self.edits:
            text = texts.get(edit.file) or (root / edit.file).read_text()
            try:
                texts[edit.file] = edit.of(text)
            except StaleError as error:
                raise StaleError(f"{self.promise}: {self.name}: {error}") from None
        return texts
