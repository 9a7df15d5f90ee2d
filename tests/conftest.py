"""What holds for every test."""

import asyncio
import gc
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from structlog.typing import EventDict, WrappedLogger

from services.chassis.log import Logger, add_facts, configure_logging
from tests.postgres import running_postgres

MEMORY = Path("/dev/shm")
ROOM = 4 * 2**30
SLOWEST = ("cache", "compose", "e2e", "events", "fuzz", "monitoring")
"""The folders with tests of many seconds."""
PATIENCE_SECONDS = 30


def pytest_configure() -> None:
    """What the servers of tests write is gone with them: where there is room, it never sees a disk.

    And what collecting makes stays to the end: there is no garbage in it to be searched for.
    """
    gc.disable()
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM:
        tempfile.tempdir = str(MEMORY)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="fail when a test is skipped")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest tests begin first, so that at the end no process works alone on one of them."""
    items.sort(key=lambda item: item.nodeid.split("/")[1] not in SLOWEST)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that is skipped has tested nothing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True, scope="session")
def _quiet_logs() -> None:
    configure_logging("error", "json")


@pytest.fixture(autouse=True, scope="session")
def _patience() -> Iterator[None]:
    """Beside other tests a connection is not free as soon as in a service."""
    with pytest.MonkeyPatch.context() as patient:
        patient.setattr("services.chassis.postgres.ACQUIRE_SECONDS", PATIENCE_SECONDS)
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The DSN of a PostgreSQL server that does nothing by itself, and on which nobody waits for a lock for ever."""
    with running_postgres(lock_timeout="20s", autovacuum="off") as dsn:
        yield dsn


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, object]]]:
    """The log lines of the test, as dictionaries."""
    lines: list[dict[str, object]] = []

    def capture(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
        lines.append(dict(line))
        return ""

    before = structlog.get_config()
    monkeypatch.setattr(Logger, "level", 0)
    structlog.configure(
        processors=[add_facts, capture],
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    yield lines
    structlog.configure(**before)


@pytest.fixture(autouse=True)
async def _no_task_is_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=1)  # what ends by itself, now that the test is over, is no leak
    assert not left, f"tasks left behind: {left}"
