"""`make monitoring`, beside the marketplace as `make run` starts it."""

import os
import re
import signal
import socket
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from compose.monitoring import listening, owners, targets
from tests.marketplace import environment_on_free_ports, free_ports, healthy_marketplace, started
from tests.processes import children, is_alive
from tests.prometheus import jobs_of, skip_without_prometheus
from tests.waiting import until
from tests.zipkin import skip_without_zipkin, spans_of

COMMAND = (sys.executable, "-m", "compose.monitoring")
SKU = 1625903
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
START_SECONDS = 60
STOP_SECONDS = 15
SERVICES = {9101: "cart", 9102: "loms", 9103: "product", 9104: "notifier", 9105: "gateway", 9111: "cart"}


def test_services_in_one_process_are_one_target() -> None:
    owners = dict.fromkeys((9101, 9102, 9103, 9104), 7) | {9105: 8}

    assert targets(SERVICES, owners, {}) == {9101: "marketplace", 9105: "gateway"}


def test_each_process_is_a_target_of_its_own_replicas_too() -> None:
    owners = {port: port for port in (9101, 9102, 9111, 80)}

    assert targets(SERVICES, owners, {}) == {9101: "cart", 9102: "loms", 9111: "cart"}


def test_a_process_that_is_gone_stays_a_target_so_that_it_is_missed() -> None:
    before = {9101: "cart", 9102: "loms"}

    assert targets(SERVICES, {9102: 2}, before) == before


def test_a_port_that_a_process_with_another_target_has_taken_over_is_none() -> None:
    before = {9101: "cart", 9102: "loms"}

    assert targets(SERVICES, {9101: 1, 9102: 1}, before) == {9101: "marketplace"}
    assert targets(SERVICES, {9101: 1, 9102: 2}, {9101: "marketplace"}) == before


def test_who_listens_is_found_by_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [server.getsockname()[1] for server in (one, other)]
        with socket.create_connection(("127.0.0.1", ports[0])) as client:
            found, connected = owners(listening()), client.getsockname()[1]

    assert [found[port] for port in ports] == [os.getpid()] * 2
    assert connected not in found
    assert not set(listening().values()) & set(ports)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    skip_without_prometheus()
    skip_without_zipkin()
    prometheus, zipkin = free_ports(2)
    return {
        "PROMETHEUS_LISTEN": f"127.0.0.1:{prometheus}",
        "PROMETHEUS_FOLDER": str(tmp_path / "prometheus"),
        "ZIPKIN_LISTEN": f"127.0.0.1:{zipkin}",
        "ZIPKIN_FOLDER": str(tmp_path / "zipkin"),
    }


async def process_at(address: str) -> int:
    """Waits until somebody listens there; gives the process."""
    host, _, port = address.rpartition(":")

    async def is_open() -> bool:
        with suppress(OSError), socket.create_connection((host, int(port))):
            return True
        return False

    await until(is_open, START_SECONDS)
    return owners(listening())[int(port)]


@pytest.mark.timeout(180)
async def test_numbers_and_traces_of_the_marketplace_are_shown_until_a_ctrl_c(
    settings: dict[str, str], tmp_path: Path
) -> None:
    log, ports = tmp_path / "log", environment_on_free_ports()
    with (
        started(log, *COMMAND, **settings, **ports) as monitoring,
        httpx.Client(base_url=f"http://{settings['PROMETHEUS_LISTEN']}", trust_env=False) as prometheus,
        httpx.Client(base_url=f"http://{settings['ZIPKIN_LISTEN']}", trust_env=False) as zipkin,
    ):
        pids = [await process_at(settings[name]) for name in ("PROMETHEUS_LISTEN", "ZIPKIN_LISTEN")]
        told = await variables_told(log)
        with healthy_marketplace(tmp_path / "marketplace", **ports, **told) as marketplace:
            checkout(marketplace.url, {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
            await until(lambda: is_traced(zipkin), START_SECONDS)
            await until(lambda: is_scraped(prometheus))
        os.killpg(monitoring.process.pid, signal.SIGINT)
        assert monitoring.exit_code(STOP_SECONDS) == 0

    assert not any(map(is_alive, pids))
    assert "Traceback" not in log.read_text()


async def variables_told(log: Path) -> dict[str, str]:
    """The variables that the marketplace is to be started with, as soon as they are told."""

    async def is_told() -> bool:
        return " make run\n" in log.read_text()

    await until(is_told)
    return dict(re.findall(r"(OTEL_\w+)=(\S+)", log.read_text()))


def checkout(url: str, headers: dict[str, str]) -> None:
    """Orders what is in a cart; these headers come with the order."""
    with httpx.Client(base_url=url, trust_env=False) as http:
        http.post(f"/user/1/cart/{SKU}", json={"count": 1}).raise_for_status()
        http.post("/cart/checkout", json={"userId": 1}, headers=headers).raise_for_status()


async def is_traced(zipkin: httpx.Client) -> bool:
    """Whether the whole way of the order is in its trace: to the notifier, too."""
    services = {span["localEndpoint"]["serviceName"] for span in spans_of(zipkin, TRACE)}
    return services >= {"gateway", "cart", "loms", "notifier"}


async def is_scraped(prometheus: httpx.Client) -> bool:
    """Whether the services, which share a process, are one target, and the gateway is another."""
    return jobs_of(prometheus).items() >= {"marketplace": "up", "gateway": "up"}.items()


@pytest.fixture
def idle_java(settings: dict[str, str], tmp_path: Path) -> None:
    """A Zipkin that does nothing, for tests that look at the processes only."""
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\nexec sleep 60\n")
    java.chmod(0o755)
    settings["JAVA_HOME"] = str(tmp_path / "jdk")


@pytest.mark.usefixtures("idle_java")
async def test_when_one_of_the_two_ends_the_other_ends_too(settings: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started(log, *COMMAND, **settings) as monitoring:
        prometheus = await process_at(settings["PROMETHEUS_LISTEN"])
        [zipkin] = children(monitoring.process.pid) - {prometheus}
        os.kill(prometheus, signal.SIGKILL)
        assert monitoring.exit_code(STOP_SECONDS) == 1

    assert f"Prometheus has ended by itself, see {settings['PROMETHEUS_FOLDER']}/log" in log.read_text()
    assert not is_alive(zipkin)


@pytest.mark.usefixtures("idle_java")
async def test_a_kill_leaves_no_process_behind(settings: dict[str, str], tmp_path: Path) -> None:
    with started(tmp_path / "log", *COMMAND, **settings) as monitoring:
        await process_at(settings["PROMETHEUS_LISTEN"])
        pids = children(monitoring.process.pid)
        monitoring.process.kill()
        monitoring.exit_code()

    async def are_gone() -> bool:
        return not any(map(is_alive, pids))

    assert len(pids) == 2
    await until(are_gone)


def test_all_taken_ports_are_told_before_anything_starts(settings: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ExitStack() as stack:
        for name in ("PROMETHEUS_LISTEN", "ZIPKIN_LISTEN"):
            host, _, port = settings[name].rpartition(":")
            stack.enter_context(socket.create_server((host, int(port))))
        with started(log, *COMMAND, **settings) as monitoring:
            assert monitoring.exit_code(START_SECONDS) == 2

    assert [name for name in ("PROMETHEUS_LISTEN", "ZIPKIN_LISTEN") if f"or set {name}" not in log.read_text()] == []
    assert not Path(settings["PROMETHEUS_FOLDER"]).exists()


def test_a_server_that_is_not_installed_is_told(settings: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started(log, *COMMAND, **settings, PATH="") as monitoring:
        assert monitoring.exit_code(START_SECONDS) == 2

    assert log.read_text() == "cannot start: there is no Prometheus: run `make setup-stack`\n"
