"""What the chassis measures by itself: the event loop, and gauges that are read when somebody asks."""

import asyncio
import time

import httpx
import pytest
from prometheus_client import REGISTRY

from services.chassis.metrics import DB_CLIENT_CONNECTIONS_MAX, exposition, loop_watched
from services.chassis.side_port import side_port
from tests.settings import AnySettings
from tests.waiting import until

LAG = "event_loop_lag_seconds"


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def is_ready() -> bool:
    return True


async def test_the_side_port_shows_the_metrics_of_the_process() -> None:
    async with (
        side_port(AnySettings(), is_ready) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        answer = await client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=")
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "python_gc_collections_total"):
        assert f"\n{name}" in answer.text


async def test_a_blocked_event_loop_is_late() -> None:
    async with loop_watched():
        before = value(f"{LAG}_sum")

        async def is_late() -> bool:
            time.sleep(0.3)  # noqa: ASYNC251  it is what a lag is
            return value(f"{LAG}_sum") - before > 0.2

        await until(is_late)


async def test_services_of_one_process_share_the_watch_of_its_loop_and_it_ends_with_the_last() -> None:
    others = len(asyncio.all_tasks())
    async with loop_watched():
        async with loop_watched():
            assert len(asyncio.all_tasks()) == others + 1
        assert len(asyncio.all_tasks()) == others + 1
        await asyncio.sleep(0)  # the task begins
        assert value("asyncio_tasks") == others + 1
    assert len(asyncio.all_tasks()) == others
    assert REGISTRY.get_sample_value("asyncio_tasks") is None


def test_a_gauge_is_the_sum_of_its_sources_as_long_as_they_are_there() -> None:
    name, labels = "db_client_connections_max", {"pool": "primary"}
    with (
        DB_CLIENT_CONNECTIONS_MAX.source(lambda: {("primary",): 3}),
        DB_CLIENT_CONNECTIONS_MAX.source(lambda: {("primary",): 4, ("replica",): 5}),
    ):
        assert value(name, **labels) == 7
        assert value(name, pool="replica") == 5
    assert REGISTRY.get_sample_value(name, labels) is None


@pytest.mark.parametrize("name", ["rpc_client_retries_total", "outbox_events", "cache_errors_total"])
def test_what_has_not_happened_yet_is_known_by_name(name: str) -> None:
    assert f"# TYPE {name} ".encode() in exposition()
