"""Streams of a v3io data platform: ``v3io://host/container/path``."""

from __future__ import annotations

from .base import Settings
from .v3io_queue import V3ioQueue

__all__ = ["V3ioQueue", "at"]


def at(url: str, settings: Settings) -> V3ioQueue:
    """The queue of an address, not open yet.

    :raises GraphError: the address or an option is wrong

    >>> at("v3io://webapi.example.com/projects/orders", Settings())
    V3ioQueue('v3io://webapi.example.com/projects/orders')
    """
    return V3ioQueue(url, settings)
