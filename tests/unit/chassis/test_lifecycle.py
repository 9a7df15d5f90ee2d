"""The life of a process, on a service as it is shipped."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.chassis.contract import ContractError
from services.chassis.lifecycle import let_threads_finish, run_to_exit
from services.chassis.settings import StartError
from tests.marketplace import ROOT
from tests.settings import FREE


@asynccontextmanager
async def started(**settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.notifier"),
        cwd=ROOT,
        env=os.environ | {"NOTIFIER_LISTEN": FREE, "NOTIFIER_SIDE_LISTEN": FREE} | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_service_in_good_order(number: signal.Signals) -> None:
    async with started() as process:
        assert process.stdout
        assert [json.loads(await process.stdout.readline())["event"] for _ in range(3)] == [
            "no events come",
            "access is off",
            "serving",
        ]
        assert os.sched_getscheduler(process.pid) == os.SCHED_BATCH
        process.send_signal(number)
        output, errors = await process.communicate()

    assert process.returncode == 0
    assert [json.loads(line)["event"] for line in output.splitlines()] == ["stopped"]
    assert errors == b""


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"NOTIFIER_LISTEN": "nowhere", "NOTIFIER_DRAIN_SECONDS": "0"}, ["NOTIFIER_LISTEN", "NOTIFIER_DRAIN_SECONDS"]),
        ({"NOTIFIER_SIDE_LISTEN": "192.0.2.1:1"}, ["NOTIFIER_SIDE_LISTEN"]),
    ],
)
async def test_a_service_that_cannot_start_exits_with_2_and_names_the_settings_to_mend(
    settings: dict[str, str], told: list[str]
) -> None:
    async with started(**settings) as process:
        _, errors = await process.communicate()

    assert process.returncode == 2
    assert errors.startswith(b"cannot start:")
    assert all(name.encode() in errors for name in told)
    assert b"Traceback" not in errors


@pytest.mark.parametrize("error", [StartError, ContractError])
def test_what_keeps_a_program_from_starting_is_told_in_a_line(
    error: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    async def program() -> int:
        raise error("…/GetPrice is not filled in")

    with pytest.raises(SystemExit, match="2"):
        run_to_exit(program())
    assert capsys.readouterr().err == "cannot start: …/GetPrice is not filled in\n"


def test_a_service_runs_where_it_may_not_choose_how_it_is_scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", forbidden)
    let_threads_finish()
