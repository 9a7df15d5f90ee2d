"""Log lines, as they are written."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from services.chassis.call import Call, current_call
from services.chassis.contract import rpc
from services.chassis.log import Format, Level, Logger, configure_logging, get_logger, log_errors_of_loop, told
from services.chassis.wrapping import Observer
from tests.settings import CartSettings

Configure = Callable[[Level, Format], None]


class Written:
    """What was written to standard output."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def lines(self) -> list[str]:
        """The lines since it was last asked."""
        return self._capsys.readouterr().out.splitlines()


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """`configure_logging`, undone after the test."""
    before = structlog.get_config()
    monkeypatch.setattr(Logger, "level", Logger.level)
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    yield configure_logging
    structlog.configure(**before)


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Written:
    return Written(capsys)


def test_a_line_is_a_json_object_with_its_facts(configure: Configure, written: Written) -> None:
    configure("info", "json")
    get_logger("cart").bind(rpc="S/Do").warning("what happened", sku=5, of=datetime)

    [line] = map(json.loads, written.lines())
    moment = datetime.fromisoformat(line.pop("timestamp"))
    assert line == {
        "event": "what happened",
        "service": "cart",
        "rpc": "S/Do",
        "sku": 5,
        "of": str(datetime),
        "level": "warning",
    }
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("level", "logged"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_lines_below_the_level_are_not_written(
    level: Level, logged: list[str], configure: Configure, written: Written
) -> None:
    configure(level, "json")
    log = get_logger("cart")
    for write in (log.debug, log.info, log.warning, log.error):
        write("a line")

    assert [json.loads(line)["level"] for line in written.lines()] == logged


TEXT = "broken shelf"


def fail() -> None:
    raise ValueError(TEXT)


def fail_in_consequence() -> None:
    try:
        fail()
    except ValueError as error:
        raise LookupError(TEXT) from error


def fail_in_a_group() -> None:
    try:
        fail_in_consequence()
    except LookupError as error:
        raise ExceptionGroup(TEXT, [error, KeyError(TEXT)]) from None


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_is_written_with_its_frames_and_without_its_text(
    form: Format, configure: Configure, written: Written
) -> None:
    configure("info", form)
    try:
        fail()
    except ValueError as error:
        error.add_note("a note")
        get_logger("cart").exception("it failed")
        get_logger("cart").error("it failed", exc_info=error)

    text = "\n".join(written.lines())
    assert text.count("in fail") == 2
    assert text.count("ValueError") >= 2
    assert TEXT not in text
    assert "a note" not in text


def test_what_an_exception_comes_from_is_told_too_without_texts() -> None:
    try:
        fail_in_a_group()
    except ExceptionGroup as error:
        story = told(error)

    for name in ("ExceptionGroup", "LookupError", "ValueError", "KeyError", "in fail_in_consequence", "in fail"):
        assert name in story
    assert TEXT not in story


def test_exceptions_that_lead_to_each_other_are_told_once() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first

    assert told(first).splitlines().count("ValueError") == 1


def test_the_lines_of_libraries_name_exceptions_by_their_types(configure: Configure, written: Written) -> None:
    configure("info", "json")
    logging.getLogger("library").error("lost %s of %s", ValueError("s3cr3t-canary"), "all")

    [line] = map(json.loads, written.lines())
    assert line["event"] == "lost ValueError of all"


async def test_an_error_that_nobody_has_caught_is_logged_without_its_text(
    configure: Configure, written: Written
) -> None:
    configure("info", "json")
    asyncio.get_running_loop().set_exception_handler(log_errors_of_loop)
    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    [line] = map(json.loads, written.lines())
    assert line["event"] == "error that nobody has caught"
    assert "in fail" in line["exception"]
    assert TEXT not in line["exception"]


def test_an_exception_is_one_line_of_json(configure: Configure, written: Written) -> None:
    configure("info", "json")
    try:
        fail()
    except ValueError:
        get_logger("cart").exception("it failed")

    [line] = map(json.loads, written.lines())
    assert line["exception"].startswith("Traceback")
    assert "exc_info" not in line


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_line_for_a_call_names_it(form: Format, configure: Configure, written: Written) -> None:
    configure("info", form)
    traceparent = f"00-{1:032x}-{2:016x}-00"
    set_before = current_call.set(
        Call("s3cr3t-canary", "r-1", 0, deadline_is_ours=True, traceparent=traceparent, rpc="S/Do")
    )
    get_logger("cart").info("served")
    current_call.reset(set_before)
    get_logger("cart").info("idle")

    served, idle = written.lines()
    for fact in ("r-1", f"{1:032x}", "S/Do"):
        assert fact in served
    assert "span_id" not in served
    assert "s3cr3t-canary" not in served
    assert "request_id" not in idle


@pytest.mark.parametrize(
    ("part", "code", "lines"), [(1.0, "OK", 1000), (0.0, "OK", 0), (0.0, "NOT_FOUND", 1000), (0.0, "CANCELLED", 1000)]
)
def test_of_successful_calls_a_part_is_logged_and_the_others_always(
    part: float, code: str, lines: int, configure: Configure, written: Written
) -> None:
    assert calls_logged(part, code, configure, written) == lines


def test_the_part_of_the_successful_calls_that_is_logged_is_drawn(configure: Configure, written: Written) -> None:
    assert 50 < calls_logged(0.1, "OK", configure, written) < 180


def calls_logged(part: float, code: str, configure: Configure, written: Written) -> int:
    """The lines of 1,000 calls."""
    configure("info", "json")
    observer = Observer(rpc("/marketplace.loms.v1.LomsService/StocksInfo"), get_logger("loms"), None, part)
    for _ in range(1000):
        observer.ended(Call(None, "r-1", 0, deadline_is_ours=True), code, 0.001)
    return len(written.lines())


def test_the_lines_of_libraries_have_the_same_form(configure: Configure, written: Written) -> None:
    configure("info", "json")
    logging.getLogger("library").info("too quiet")
    logging.getLogger("library").warning("wet %s", "paint")

    [line] = map(json.loads, written.lines())
    facts: dict[str, Any] = {"event": "wet paint", "level": "warning", "logger": "library"}
    assert facts.items() <= line.items()


@pytest.mark.parametrize("form", ["json", "console"])
def test_settings_in_a_log_line_do_not_show_their_secrets(form: Format, configure: Configure, written: Written) -> None:
    configure("info", form)
    settings = CartSettings(product_token=SecretStr("s3cr3t-canary"))
    get_logger("cart").info("settings", settings=settings, token=settings.product_token)

    [line] = written.lines()
    assert "product_token" in line
    assert "s3cr3t-canary" not in line
