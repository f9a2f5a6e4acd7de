"""From an address to its queue. A backend is imported when the first address of its kind is opened."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from ..errors import GraphError, MissingDependency, near
from .base import Queue, Settings
from .shown import shown


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a kind of stream lives.

    :param module: a module of this package with ``at(url, settings) -> Queue``
    :param form: how its addresses look
    :param package: the client that it needs, and `extra`: what brings it
    """

    module: str
    form: str
    package: str = ""
    extra: str = ""


BACKENDS = {
    "memory": Backend("memory_topic", "memory://name"),
    "log": Backend("log", "log:///directory/topic", "lmdb"),
    "kafka": Backend("kafka", "kafka://brokers/topic", "kafka-python", "kafka"),
    "v3io": Backend("v3io", "v3io://host/container/path", "v3io", "v3io"),
    "v3io+http": Backend("v3io", "v3io+http://host/container/path", "v3io", "v3io"),
}


class _Module(Protocol):
    def at(self, url: str, settings: Settings) -> Queue: ...

    async def list_topics(self, url: str, settings: Settings) -> list[str]: ...


def queue_at(url: str, settings: Settings | None = None) -> Queue:
    """The queue of an address, not open yet: nothing is connected or made.

    :raises GraphError: nothing has such addresses
    :raises MissingDependency: the backend's client is not installed

    >>> queue_at("log:///var/lib/orders").url
    'log:///var/lib/orders'
    >>> queue_at("kafak://broker/orders")
    Traceback (most recent call last):
    ...
    millrace.errors.GraphError: 'kafak://broker/orders': there are no queues 'kafak://'; did you mean 'kafka'?
    """
    return _module(url, _backend(url)).at(url, settings or Settings())


async def list_topics(url: str, settings: Settings | None = None) -> list[str]:
    """The addresses of the topics in a folder, a cluster or a container: an address without its topic.

    :param url: ``log:///directory``, ``kafka://brokers``, ``v3io://host/container/folder``
    :raises GraphError: nothing has such addresses
    :raises MissingDependency: the backend's client is not installed

    >>> import asyncio
    >>> asyncio.run(list_topics("log:///there/is/no/such/folder"))
    []
    """
    return await _module(url, _backend(url)).list_topics(url, settings or Settings())


def _backend(url: str) -> Backend:
    scheme, separator, _ = url.partition("://")
    if not separator:
        forms = ", ".join(backend.form for backend in BACKENDS.values())
        raise GraphError(f"'{shown(url)}' is no address of a queue; addresses are {forms}")
    if scheme not in BACKENDS:
        hint = near(scheme, BACKENDS) or f"; there are {', '.join(f'{name}://' for name in BACKENDS)}"
        raise GraphError(f"'{shown(url)}': there are no queues '{scheme}://'{hint}")
    return BACKENDS[scheme]


async def open_queue(url: str, settings: Settings | None = None) -> Queue:
    """The queue of an address, open; close it, or ``async with`` it.

    :param settings: how it is made when it does not exist, and the backend's options
    :raises GraphError: nothing has such addresses
    :raises MissingDependency: the backend's client is not installed

    >>> import asyncio, tempfile
    >>> async def main(folder: str) -> int:
    ...     async with await open_queue(f"log://{folder}/orders") as queue:
    ...         return queue.partitions
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     asyncio.run(main(folder))
    4
    """
    queue = queue_at(url, settings)
    try:
        return await queue.open()
    except BaseException:
        await queue.close()
        raise


def _module(url: str, backend: Backend) -> _Module:
    try:
        return cast(_Module, import_module(f".{backend.module}", __package__))
    except ModuleNotFoundError as error:
        if not backend.package or (error.name or "").startswith(f"{__package__}."):
            raise
        raise MissingDependency(backend.package, extra=backend.extra, purpose=f"the queue {shown(url)}") from error
