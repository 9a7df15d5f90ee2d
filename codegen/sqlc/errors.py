"""What stops a generation."""

from collections.abc import Iterator
from contextlib import contextmanager


class GenerationError(Exception):
    """Something that cannot be generated: where it is, and why not."""


@contextmanager
def inside(place: str) -> Iterator[None]:
    """Says of an error where it is."""
    try:
        yield
    except GenerationError as error:
        raise GenerationError(f"{place}: {error}") from error
