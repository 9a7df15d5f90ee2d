"""Starts that fail say why, and ends leave nothing behind: the processes as users run them."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from services.__main__ import main
from tests.e2e.expect import post
from tests.marketplace import (
    GATEWAY,
    SERVICES,
    START_SECONDS,
    environment_on_free_ports,
    healthy_marketplace,
    started,
    started_marketplace,
)

SKU = 139275865


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def lines_with(word: str, log: Path) -> int:
    """How many lines name it."""
    return sum(word in line for line in log.read_text().splitlines())


WAYS_TO_STOP: dict[str, Callable[[subprocess.Popen[str]], None]] = {
    "SIGTERM": lambda process: process.send_signal(signal.SIGTERM),
    "SIGINT": lambda process: process.send_signal(signal.SIGINT),
    "Ctrl-C, which reaches the gateway too": lambda process: os.killpg(process.pid, signal.SIGINT),
}


def test_a_stop_ends_all_processes_and_the_next_start_has_the_same_ports(log: Path) -> None:
    settings = environment_on_free_ports()
    for way, stop in WAYS_TO_STOP.items():
        with healthy_marketplace(log, **settings) as marketplace:
            stop(marketplace.process)
            assert marketplace.exit_code() == 0, way
        assert lines_with("Traceback", log) == 0, log.read_text()


def test_all_taken_ports_are_named_at_once_those_that_two_parts_want_too(log: Path) -> None:
    settings = environment_on_free_ports()
    settings["LOMS_LISTEN"] = settings["CART_LISTEN"]
    taken = {name: settings[name] for name in ("PRODUCT_SIDE_LISTEN", "GATEWAY_LISTEN", "GATEWAY_SIDE_LISTEN")}
    with ExitStack() as listeners:
        for address in taken.values():
            host, _, port = address.rpartition(":")
            listeners.enter_context(socket.create_server((host, int(port))))
        with started_marketplace(log, **settings) as marketplace:
            assert marketplace.exit_code(START_SECONDS) == 2

    named = (*taken, "LOMS_LISTEN")
    assert {name: lines_with(name, log) for name in named} == dict.fromkeys(named, 1), log.read_text()
    assert lines_with("serving", log) == 0, "something was started"
    assert lines_with("Swagger UI", log) == 0, "it says that it runs"
    assert lines_with("Traceback", log) == 0, log.read_text()


def test_a_service_whose_port_is_moved_is_found_by_the_others(log: Path) -> None:
    settings = environment_on_free_ports()
    for name in [name for name in settings if name.endswith("_ADDRESS")]:
        del settings[name]
    settings |= {f"{service.upper()}_LISTEN": "127.0.0.1:0" for service in SERVICES}
    with started(log, sys.executable, "-m", "services", "--gateway", GATEWAY, **settings) as marketplace:
        marketplace.answer(f"{marketplace.url}/healthz")
        marketplace.answer(f"{marketplace.url}/stock/info?sku={SKU}")


@pytest.mark.parametrize(
    "wrong",
    [
        {"LOMS_PAYMENT_MINUTES": "x", "LOMS_DRAIN_SECONDS": "0", "CART_LISTEN": "nowhere"},
        {"GATEWAY_CORS_ORIGINS": "*", "GATEWAY_OPENAPI_FILE": ""},
    ],
)
def test_wrong_settings_end_the_start_with_a_line_for_each(wrong: dict[str, str], log: Path) -> None:
    with started_marketplace(log, **wrong) as marketplace:
        assert marketplace.exit_code(START_SECONDS) == 2

    assert {setting: lines_with(setting, log) for setting in wrong} == dict.fromkeys(wrong, 1), log.read_text()
    assert lines_with("Traceback", log) == 0, log.read_text()


def test_a_missing_gateway_ends_the_start_with_a_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["services", "--gateway", "bin/missing"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "bin/missing is missing: run `make setup`" in capsys.readouterr().err


def test_all_that_is_wrong_with_what_settings_name_is_told_before_anything_starts(log: Path) -> None:
    wrong = {"LOMS_ACCESS_KEYS": "missing", "OTEL_TRACES_EXPORTER": "nonsense", "GATEWAY_ACCESS": "x"}
    with started_marketplace(log, **wrong) as marketplace:
        assert marketplace.exit_code(START_SECONDS) == 2

    told = log.read_text()
    assert [name for name in wrong if f"{name}=" not in told] == []
    assert "serving" not in told


def test_the_marketplace_ends_with_its_gateway(log: Path, tmp_path: Path) -> None:
    pid, gateway = tmp_path / "pid", tmp_path / "gateway"
    gateway.write_text(f"#!/bin/sh\necho $$ > '{pid}'\nexec '{GATEWAY}' \"$@\"\n")
    gateway.chmod(0o755)
    with healthy_marketplace(log, gateway) as marketplace:
        os.kill(int(pid.read_text()), signal.SIGKILL)
        assert marketplace.exit_code() != 0
    assert lines_with("the gateway has ended by itself", log) == 1, log.read_text()
    assert lines_with("Traceback", log) == 0, log.read_text()


def test_the_gateway_ends_with_the_marketplace_even_if_that_is_killed(log: Path) -> None:
    with healthy_marketplace(log) as marketplace:
        marketplace.process.kill()
        assert marketplace.exit_code() == -signal.SIGKILL


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_without_the_others(service: str, log: Path) -> None:
    settings = environment_on_free_ports()
    side = f"http://{settings[f'{service.upper()}_SIDE_LISTEN']}"
    with started(log, sys.executable, "-m", f"services.{service}", **settings) as program:
        program.answer(f"{side}/healthz")
        program.answer(f"{side}/readyz")
        program.process.terminate()
        assert program.exit_code() == 0
    assert lines_with("Traceback", log) == 0, log.read_text()


def test_the_gateway_runs_without_the_services_and_says_that_they_are_missing(log: Path) -> None:
    with started(log, GATEWAY, **environment_on_free_ports()) as gateway:
        health = gateway.answer(f"{gateway.url}/healthz", 503)
        gateway.process.terminate()
        assert gateway.exit_code() == 0
    assert health.json() == {"status": "NOT_SERVING", "services": dict.fromkeys(SERVICES, "UNREACHABLE")}


async def test_a_stop_breaks_no_request_that_is_answered(log: Path) -> None:
    statuses: list[int] = []
    busy = asyncio.Event()

    async def add_until_it_is_gone(http: httpx.AsyncClient, user: int) -> None:
        with suppress(httpx.TransportError):
            while True:
                statuses.append((await post(http, f"/user/{user}/cart/{SKU}", '{"count": 1}')).status_code)
                if len(statuses) > 100:
                    busy.set()

    with healthy_marketplace(log) as marketplace:
        async with (
            httpx.AsyncClient(base_url=marketplace.url, trust_env=False) as http,
            asyncio.TaskGroup() as group,
        ):
            for user in range(1, 21):
                group.create_task(add_until_it_is_gone(http, user))
            await busy.wait()
            marketplace.process.terminate()
        assert marketplace.exit_code() == 0
    assert set(statuses) == {200}
    assert lines_with("Traceback", log) == 0, log.read_text()
