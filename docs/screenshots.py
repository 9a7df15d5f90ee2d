"""Makes the pictures of the README from marketplaces of its own: `make screenshots`."""

import argparse
import asyncio
import subprocess
import sys
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from services.chassis.background import background
from tests.marketplace import healthy_marketplace
from tests.monitoring.stack import Watched, purchase, watched_stack
from tests.postgres import running_postgres

DOCS = Path(__file__).parent
SWAGGER_UI = DOCS.parent / "swagger-ui" / "screenshots.mjs"
MONITORING = DOCS / "screenshots.mjs"
SHOPPING_SECONDS = 45
"""How long there are purchases before the pictures are taken: a graph shows them."""
RATES = "sum by (rpc_service, rpc_method) (rate(rpc_server_duration_seconds_count[15s]))"


def take(chromium: str, folder: Path) -> None:
    """Writes the pictures into the folder. Raises when a page does not show what it should."""
    folder.mkdir(exist_ok=True)
    with TemporaryDirectory() as scratch, healthy_marketplace(Path(scratch) / "log") as marketplace:
        run(SWAGGER_UI, chromium, marketplace.url, folder)
    with (
        TemporaryDirectory() as scratch,
        running_postgres() as server,
        watched_stack(Path(scratch), server) as watched,
    ):
        asyncio.run(take_while_it_sells(chromium, watched, folder))


async def take_while_it_sells(chromium: str, watched: Watched, folder: Path) -> None:
    zipkin, prometheus = watched.zipkin.http.base_url, watched.prometheus.http.base_url
    async with background(lambda: sell(watched.url)):
        await asyncio.sleep(SHOPPING_SECONDS)
        trace = f"{zipkin}/zipkin/traces/{trace_of_a_checkout(watched)}"
        await asyncio.to_thread(run, MONITORING, chromium, trace, prometheus, RATES, folder)


def run(script: Path, *arguments: object) -> None:
    """Runs the driver of the browser."""
    subprocess.run(["node", script, *map(str, arguments)], check=True)


async def sell(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        for user in count(1):
            await purchase(http, user)


def trace_of_a_checkout(watched: Watched) -> str:
    """One that is over: the notifier has had its part in it."""
    asked: dict[str, str | int] = {"spanName": "post /cart/checkout", "lookback": SHOPPING_SECONDS * 1000, "limit": 20}
    traces = watched.zipkin.http.get("/api/v2/traces", params=asked).raise_for_status().json()
    return str(max(traces, key=len)[0]["traceId"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.screenshots", description=__doc__)
    parser.add_argument("--chromium", required=True, help="the program to take the pictures with")
    arguments = parser.parse_args()
    try:
        take(arguments.chromium, DOCS / "pictures")
    except pytest.skip.Exception as missing:
        sys.exit(f"no pictures: {missing}")
    except subprocess.CalledProcessError as failed:
        sys.exit(failed.returncode)


if __name__ == "__main__":
    main()
