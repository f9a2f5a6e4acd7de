"""A port that several processes share."""

from __future__ import annotations

import socket

from ...errors import CannotListen


def reserve_port(host: str, port: int) -> socket.socket:
    """A socket that keeps the port for the workers; it does not listen, so no connection comes to it.

    :raises CannotListen: another program has the port, be it one that shares ports
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if port:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        held = socket.socket(family)
        # Both: connections of a server that has just ended, and shared no port, would be in the way for a minute.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
    except OSError as error:
        raise CannotListen(host, port, error) from error
    return held
