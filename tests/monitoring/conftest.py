"""The whole marketplace, started once for all tests that look at it."""

from collections.abc import Iterator

import pytest

from tests.monitoring.stack import Watched, watched_stack


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, server: str) -> Iterator[Watched]:
    with watched_stack(tmp_path_factory.mktemp("watched"), server) as watched:
        yield watched
