"""Prometheus on a free port, with the rules of the project, in a hurry."""

import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from compose.monitoring import PrometheusSettings, Server, prometheus_server, write_targets
from tests.marketplace import free_ports
from tests.processes import ServerProcess
from tests.waiting import wait_until

PROMTOOL = shutil.which("promtool")
INTERVAL = "250ms"


class PrometheusServer(ServerProcess):
    """A Prometheus. What it has scraped ends with its folder."""

    def __init__(self, server: Server) -> None:
        self.http = httpx.Client(base_url=f"http://{server.listen}", trust_env=False)
        with server.log.open("w") as log:
            self._process = subprocess.Popen(server.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._is_ready)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, "Prometheus does not start"
        with suppress(httpx.TransportError):
            return self.http.get("/-/ready").is_success
        return False

    def values(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The labels and the value of each series that an expression has now; those that are not a number are none."""
        answer = api(self.http, "query", query=expression)
        found = [(each["metric"], float(each["value"][1])) for each in answer["result"]]
        return [(labels, value) for labels, value in found if not math.isnan(value)]

    def jobs(self) -> dict[str, str]:
        """What it scrapes, each `up`, `down` or `unknown`."""
        return jobs_of(self.http)

    def broken_rules(self) -> dict[str, str]:
        """The rules that it could not evaluate, with the reasons."""
        groups = api(self.http, "rules")["groups"]
        return {rule["name"]: rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")}

    def kill(self) -> None:
        super().kill()
        self.http.close()


def api(http: httpx.Client, path: str, **parameters: str) -> Any:
    """What the API of a Prometheus answers."""
    answer = http.get(f"/api/v1/{path}", params=parameters)
    assert answer.is_success, answer.text
    return answer.json()["data"]


def jobs_of(http: httpx.Client) -> dict[str, str]:
    """What a Prometheus scrapes, each job `up`, `down` or `unknown`."""
    return {
        target["labels"]["job"]: target["health"] for target in api(http, "targets", state="active")["activeTargets"]
    }


@contextmanager
def running_prometheus(jobs: Mapping[int, str]) -> Iterator[PrometheusServer]:
    """A server that scrapes these ports, four times a second."""
    skip_without_prometheus()
    with tempfile.TemporaryDirectory(prefix="prometheus-") as folder:
        [port] = free_ports(1)
        server = prometheus_server(PrometheusSettings(listen=f"127.0.0.1:{port}", folder=Path(folder)))
        config = Path(folder, "config", "prometheus.yml")
        config.write_text(config.read_text().replace("_interval: 5s", f"_interval: {INTERVAL}"))
        write_targets(config.with_name("targets.json"), jobs)
        prometheus = PrometheusServer(server)
        try:
            yield prometheus
        finally:
            prometheus.kill()


def skip_without_prometheus() -> None:
    if PROMTOOL is None:
        pytest.skip("there is no Prometheus: `make setup-stack` installs it")
