"""Streams of a v3io data platform: ``v3io://host/container/path``."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from .base import Settings
from .v3io_client import Refused, Stream
from .v3io_options import Options, Place
from .v3io_queue import V3ioQueue

__all__ = ["V3ioQueue", "at", "list_topics"]


def at(url: str, settings: Settings) -> V3ioQueue:
    """The queue of an address, not open yet.

    :raises GraphError: the address or an option is wrong

    >>> at("v3io://webapi.example.com/projects/orders", Settings())
    V3ioQueue('v3io://webapi.example.com/projects/orders')
    """
    return V3ioQueue(url, settings)


async def list_topics(url: str, settings: Settings) -> list[str]:
    """The addresses of the streams in a container, or in a folder of it; of a stream's own address that.

    :raises GraphError: the address or an option is wrong
    """
    options = Options.parse(settings.options)
    place = Place.parse(url, options, is_folder=True)
    if place.path and await _is_stream(place, options, url):
        return [url]
    folder = Stream(place, options, url=url)
    try:
        names = await folder.names(folders=True)
    finally:
        await folder.close()
    inside = {name: replace(place, path=f"{place.path}/{name}".strip("/")) for name in sorted(names)}
    address = url.rstrip("/")
    return [f"{address}/{quote(name)}" for name, at in inside.items() if await _is_stream(at, options, url)]


async def _is_stream(place: Place, options: Options, url: str) -> bool:
    stream = Stream(place, options, url=url)
    try:
        return await stream.describe() is not None
    except Refused as refused:
        if refused.code != 400:  # what is a folder or a table is refused so
            raise
        return False
    finally:
        await stream.close()
