"""Addresses to listen on."""

import socket

from services.chassis.settings import Settings, StartError


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
