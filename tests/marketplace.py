"""The marketplace as users start it: its own process with the gateway beside it, on free ports."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent
GATEWAY = ROOT / "bin" / "gateway"
START_SECONDS = 20


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def environment_on_free_ports() -> dict[str, str]:
    """Settings that give every part of the marketplace a free port."""
    services = ("CART", "LOMS", "PRODUCT", "NOTIFIER")
    ports = iter(free_ports(2 * len(services) + 2))
    settings = {}
    for service in services:
        settings[f"{service}_LISTEN"] = f"127.0.0.1:{next(ports)}"
        settings[f"{service}_SIDE_LISTEN"] = f"127.0.0.1:{next(ports)}"
        settings[f"GATEWAY_{service}_ADDRESS"] = settings[f"{service}_LISTEN"]
    settings["CART_LOMS_ADDRESS"] = settings["LOMS_LISTEN"]
    settings["CART_PRODUCT_ADDRESS"] = settings["PRODUCT_LISTEN"]
    settings["GATEWAY_LISTEN"] = f"127.0.0.1:{next(ports)}"
    settings["GATEWAY_SIDE_LISTEN"] = f"127.0.0.1:{next(ports)}"
    return settings


@dataclass
class Marketplace:
    """A running marketplace."""

    url: str
    settings: dict[str, str]
    process: asyncio.subprocess.Process

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tells it to stop; gives the exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(10):
            return await self.process.wait()


@asynccontextmanager
async def running_marketplace(log: Path, **more: str) -> AsyncIterator[Marketplace]:
    """Starts it with `more` settings and waits until it is healthy; kills what is left at the end."""
    settings = environment_on_free_ports() | more
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "services", "--gateway", str(GATEWAY)),
            cwd=ROOT,
            env=os.environ | settings,
            stdout=output,
            stderr=output,
        )
    marketplace = Marketplace(f"http://{settings['GATEWAY_LISTEN']}", settings, process)
    try:
        await _healthy(marketplace, log)
        yield marketplace
    finally:
        if process.returncode is None:
            await marketplace.stop()


async def _healthy(marketplace: Marketplace, log: Path) -> None:
    async with asyncio.timeout(START_SECONDS), httpx.AsyncClient() as client:
        while marketplace.process.returncode is None:
            try:
                if (await client.get(f"{marketplace.url}/healthz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError(f"the marketplace ended by itself:\n{log.read_text()}")
