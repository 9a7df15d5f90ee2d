"""Profiles over HTTP: on the side port of a service, and only there."""

import asyncio
import json
import signal
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from services.chassis import profiles
from services.chassis.background import background
from services.chassis.side_port import side_port
from services.product.__main__ import product
from tests.marketplace import GATEWAY, free_ports, started
from tests.settings import FREE, AnySettings, ProductSettings
from tests.waiting import until

PATHS = ("/metrics", "/debug/profile?seconds=0.1", "/debug/heap?seconds=0.1", "/debug/tasks")


async def is_ready() -> bool:
    return True


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a side port."""
    async with (
        side_port(AnySettings(), is_ready) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client,
    ):
        yield client


def burn_the_cpu(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(1000))


async def busy() -> None:
    while True:
        burn_the_cpu(0.02)
        await asyncio.sleep(0.001)


async def wait_for_what_never_comes() -> None:
    await asyncio.Event().wait()


def is_taken() -> bool:
    return profiles._taken.locked()


async def has_begun() -> bool:
    return is_taken()


@pytest.mark.parametrize("form", ["flamegraph", "speedscope"])
async def test_a_profile_names_the_function_that_takes_the_cpu(form: str, http: httpx.AsyncClient) -> None:
    async with background(busy):
        answer = await http.get("/debug/profile", params={"seconds": 1, "format": form})

    assert answer.status_code == 200
    assert "burn_the_cpu" in answer.text
    if form == "speedscope":
        frames = [frame["name"] for frame in json.loads(answer.text)["shared"]["frames"]]
        assert "burn_the_cpu" in frames
    assert not is_taken()


async def test_time_in_which_nothing_runs_is_nobodys(http: httpx.AsyncClient) -> None:
    async with background(wait_for_what_never_comes):
        answer = await http.get("/debug/profile", params={"seconds": 1, "format": "speedscope"})

    assert answer.status_code == 200
    assert "wait_for_what_never_comes" not in answer.text


async def test_the_heap_names_the_line_that_grows(http: httpx.AsyncClient) -> None:
    grown: list[bytearray] = []

    async def grow() -> None:
        while True:
            grown.append(bytearray(100_000))
            await asyncio.sleep(0.01)

    async with background(grow):
        answer = await http.get("/debug/heap", params={"seconds": 0.3})

    assert answer.status_code == 200
    first = answer.text.splitlines()[0].split()
    assert first[0].startswith("+")
    assert "test_profiles.py" in first[-1]
    assert len(answer.text.splitlines()) <= 50
    assert not tracemalloc.is_tracing()


async def test_the_tasks_are_shown_with_the_lines_in_which_they_wait(http: httpx.AsyncClient) -> None:
    async with background(wait_for_what_never_comes):
        await asyncio.sleep(0)
        answer = await http.get("/debug/tasks")

    assert "wait_for_what_never_comes" in answer.text
    assert "test_profiles.py" in answer.text
    assert "Event.wait" in answer.text


@pytest.mark.parametrize("path", ["/debug/profile", "/debug/heap"])
async def test_a_second_one_at_the_same_time_is_refused(path: str, http: httpx.AsyncClient) -> None:
    first = asyncio.ensure_future(http.get("/debug/profile", params={"seconds": 1}))

    await until(has_begun)
    assert (await http.get(path)).status_code == 409
    assert (await first).status_code == 200


@pytest.mark.parametrize("path", ["/debug/profile", "/debug/heap"])
@pytest.mark.parametrize("seconds", ["0", "0.09", "60.1", "-1", "nan", "inf", "soon", ""])
async def test_a_time_out_of_its_range_is_refused_with_the_rule(
    path: str, seconds: str, http: httpx.AsyncClient
) -> None:
    answer = await http.get(path, params={"seconds": seconds})

    assert (answer.status_code, answer.text) == (400, "seconds: must be a number between 0.1 and 60\n")


async def test_an_unknown_format_is_refused_with_the_rule(http: httpx.AsyncClient) -> None:
    answer = await http.get("/debug/profile", params={"seconds": 1, "format": "svg"})

    assert (answer.status_code, answer.text) == (400, "format: must be one of flamegraph, speedscope\n")


async def test_a_profile_that_is_being_taken_does_not_hold_up_the_stop() -> None:
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        async with side_port(AnySettings(), is_ready) as port:
            answer = asyncio.ensure_future(client.get(f"http://127.0.0.1:{port}/debug/profile?seconds=60"))

            await until(has_begun)
            began = time.monotonic()
        assert time.monotonic() - began < 4
        assert (await answer).status_code == 200


async def test_a_profiler_that_misses_its_signal_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "SIGINT", signal.SIGCONT)
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client, side_port(AnySettings(), is_ready) as port:
        answer = await client.get(f"http://127.0.0.1:{port}/debug/profile?seconds=0.1")

    assert answer.status_code == 200
    assert not is_taken()


async def test_the_port_of_grpc_has_none_of_it() -> None:
    async with (
        product(ProductSettings(listen=FREE, side_listen=FREE)) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        for path in PATHS:
            method: Any = channel.unary_unary(path.partition("?")[0])
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await method(b"")
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_gateway_has_none_of_it_in_public(tmp_path: Path) -> None:
    public, side = free_ports(2)
    settings = {"GATEWAY_LISTEN": f"127.0.0.1:{public}", "GATEWAY_SIDE_LISTEN": f"127.0.0.1:{side}"}
    with started(tmp_path / "log", GATEWAY, **settings) as program:
        for path in PATHS:
            await asyncio.to_thread(program.answer, f"{program.url}{path}", 404)
