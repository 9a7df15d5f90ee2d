"""Addresses to listen on."""

import socket

from services.chassis.settings import Settings, StartError


def bound(settings: Settings, field: str) -> socket.socket:
    """A socket bound to the address in this setting. Raises StartError when it cannot be had."""
    address = getattr(settings, field)
    host, _, port = address.rpartition(":")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, int(port)))
    except OSError:
        listener.close()
        variable = settings.variable(field)
        raise StartError(f"{address} is taken or not ours: stop what listens there or set {variable}") from None
    return listener
