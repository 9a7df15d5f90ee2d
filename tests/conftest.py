"""What holds for every test."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog

from services.chassis.log import configure_logging


@pytest.fixture(autouse=True, scope="session")
def _quiet_logs() -> None:
    configure_logging("error", "json")


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    """The log lines of the test, as dictionaries."""
    before = structlog.get_config()
    captured = structlog.testing.LogCapture()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *before["processors"][:2], captured],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    yield captured.entries  # type: ignore[misc]  # structlog says MutableMapping
    structlog.configure(**before)


@pytest.fixture(autouse=True)
async def _no_task_is_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=1)  # what ends by itself, now that the test is over, is no leak
    assert not left, f"tasks left behind: {left}"
