"""Asks a URL whether it answers: `python -m services.ready http://127.0.0.1:9101/readyz`.

It is for the health checks of containers. The exit code is 0 if a GET is answered with 2xx within two seconds, and 1
otherwise.
"""

import argparse
import signal
import sys
from http.client import HTTPConnection, HTTPException
from types import FrameType
from urllib.parse import urlsplit

SECONDS = 2


def is_ready(url: str) -> bool:
    """Whether a GET is answered with 2xx now."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status // 100 == 2
    except (OSError, HTTPException):
        return False


def _too_late(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services.ready", description="Asks a URL whether it answers.")
    parser.add_argument("url", help="what is asked, as in http://127.0.0.1:9101/readyz")
    url: str = parser.parse_args().url
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(SECONDS)
    return 0 if is_ready(url) else 1


if __name__ == "__main__":
    sys.exit(main())
