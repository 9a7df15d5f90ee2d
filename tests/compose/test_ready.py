"""The health check of our containers tells who answers with 2xx within two seconds from who does not."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.ready import SECONDS
from tests.marketplace import ROOT, free_ports


@contextmanager
def answering(status: int, *, hangs: bool = False) -> Iterator[str]:
    """A server that answers every GET so, or has one wait for the end of its answer until the block ends; the URL."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.flush_headers()
            with suppress(OSError):
                while hangs and not over.wait(0.1):
                    self.wfile.write(b"X-Slow: 1\r\n")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/readyz"
        finally:
            over.set()
            server.shutdown()


def code(url: str) -> int:
    """The exit code for the URL."""
    return subprocess.run([sys.executable, "-m", "services.ready", url], cwd=ROOT, check=False).returncode


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (204, 0), (302, 1), (404, 1), (503, 1)])
def test_2xx_is_ready_and_nothing_else(status: int, expected: int) -> None:
    with answering(status) as url:
        assert code(url) == expected


def test_nobody_is_not_ready() -> None:
    [port] = free_ports(1)

    assert code(f"http://127.0.0.1:{port}/readyz") == 1


def test_who_goes_on_answering_for_more_than_two_seconds_is_not_ready() -> None:
    with answering(200, hangs=True) as url:
        start = time.monotonic()

        assert code(url) == 1
        assert SECONDS <= time.monotonic() - start < 2 * SECONDS
