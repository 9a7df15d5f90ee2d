"""Addresses to listen on, and where somebody does."""

import asyncio
import socket

from services.chassis.settings import Settings, StartError

POLL_SECONDS = 0.02


def listener(settings: Settings, field: str) -> socket.socket:
    """A socket that listens at the address in this setting. Raises StartError when it cannot be had."""
    address = getattr(settings, field)
    host, _, port = address.rpartition(":")
    try:
        return socket.create_server((host, int(port)))
    except socket.gaierror:
        raise StartError(f"there is no host {host}: set {settings.variable(field)}") from None
    except OSError:
        variable = settings.variable(field)
        raise StartError(f"{address} is taken or not ours: stop what listens there or set {variable}") from None


async def answered(address: str) -> None:
    """Waits until somebody listens there."""
    host, _, port = address.rpartition(":")
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(POLL_SECONDS)
            continue
        writer.close()
        return
