"""Log lines, as they are written."""

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from services.chassis.call import Call, current_call
from services.chassis.log import Format, Level, Logger, configure_logging, get_logger
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


def fail() -> None:
    raise ValueError("broken shelf")


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_is_written_with_its_traceback(form: Format, configure: Configure, written: Written) -> None:
    configure("info", form)
    try:
        fail()
    except ValueError as error:
        get_logger("cart").exception("it failed")
        get_logger("cart").error("it failed", exc_info=error)

    text = "\n".join(written.lines())
    assert text.count("ValueError: broken shelf") == 2
    assert text.count("in fail") == 2


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
    set_before = current_call.set(Call("s3cr3t-canary", "r-1", 0, deadline_is_ours=True))
    get_logger("cart").info("served")
    current_call.reset(set_before)
    get_logger("cart").info("idle")

    served, idle = written.lines()
    assert "r-1" in served
    assert "s3cr3t-canary" not in served
    assert "request_id" not in idle


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
