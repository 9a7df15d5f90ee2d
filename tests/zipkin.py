"""Zipkin on a free port, from the jars of `make setup-stack`. It takes seconds to start: others may meanwhile."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from compose.monitoring import ZIPKIN, ZIPKIN_CLASSES, Server, ZipkinSettings, zipkin_server
from tests.marketplace import free_ports
from tests.processes import ServerProcess
from tests.waiting import wait_until

START_SECONDS = 60


class ZipkinServer(ServerProcess):
    """A Zipkin, which keeps its traces in memory."""

    def __init__(self, server: Server, environment: Mapping[str, str]) -> None:
        self.http = httpx.Client(base_url=f"http://{server.listen}", trust_env=False)
        self.endpoint = f"http://{server.listen}/api/v2/spans"
        with server.log.open("w") as log:
            self._process = subprocess.Popen(
                server.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | environment
            )

    def wait(self) -> None:
        """Waits until it takes spans."""
        wait_until(self._is_ready, START_SECONDS)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, "Zipkin does not start"
        with suppress(httpx.TransportError):
            return self.http.get("/health").is_success
        return False

    def stop(self) -> None:
        """Lets it finish."""
        self._process.terminate()
        self._process.wait()

    def kill(self) -> None:
        super().kill()
        self.http.close()


def spans_of(http: httpx.Client, trace_id: str) -> list[dict[str, Any]]:
    """The spans of a trace, as far as a Zipkin has them."""
    answer = http.get(f"/api/v2/trace/{trace_id}")
    return list(answer.json()) if answer.is_success else []


@contextmanager
def running_zipkin(**environment: str) -> Iterator[ZipkinServer]:
    """A server that is about to start, and ends with the block."""
    skip_without_zipkin()
    with tempfile.TemporaryDirectory(prefix="zipkin-") as folder:
        [port] = free_ports(1)
        zipkin = ZipkinServer(
            zipkin_server(ZipkinSettings(listen=f"127.0.0.1:{port}", folder=Path(folder))), environment
        )
        try:
            yield zipkin
        finally:
            zipkin.kill()


def skip_without_zipkin() -> None:
    if not ZIPKIN.is_dir():
        pytest.skip("there is no Zipkin: `make setup-stack` installs it")


if __name__ == "__main__":  # makes ZIPKIN_CLASSES
    with running_zipkin(JAVA_TOOL_OPTIONS=f"-XX:ArchiveClassesAtExit={ZIPKIN_CLASSES}") as zipkin:
        zipkin.wait()
        zipkin.stop()
