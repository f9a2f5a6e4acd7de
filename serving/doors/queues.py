"""The in-memory streams of a mock server: what a queue step writes is serialised, and read again by what follows it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

from ...deferred import asyncio
from ...errors import Draining, GraphError, near
from ...queues.memory import MemoryQueue
from ...queues.message import Message
from ..engine.engine import Engine
from ..engine.event import Event
from ..engine.messages import to_event
from ..engine.queue_unit import Stream
from ..engine.unit import Unit
from ..graph.step import QueueStep

CLOSE_SECONDS = 5.0


class Streams(Protocol):
    """What a function's steps write to and read from.

    :ivar drain_seconds: how long the end of reading may wait, if that is less than a queue's own time
    """

    drain_seconds: float | None

    def open(self, step: QueueStep) -> Stream:
        """The stream of a queue step."""

    def sink(self, name: str, path: str) -> Callable[[Message], Any]:
        """What writes to a stream at the function's side, such as its error stream; from any thread."""

    @property
    def backlog(self) -> int:
        """How many messages are not done."""

    async def start(self, engine: Engine) -> None:
        """Begin to read. On the engine's loop."""

    async def settled(self) -> bool:
        """Whether all that was written has been read."""

    async def end_reading(self) -> None:
        """Take no more messages, and wait for those that run, for a bounded time."""

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Let go of everything; what is left to be written has so many seconds, reading has ended before."""


class MemoryStreams:
    """One in-memory queue for every queue step, by the step's name; in a nested flow by its names from the root."""

    def __init__(self) -> None:
        self.drain_seconds: float | None = None
        self.queues: dict[str, MemoryQueue] = {}
        self._readers: list[asyncio.Task[None]] = []

    def open(self, step: QueueStep) -> MemoryQueue:
        """The queue of a step."""
        return self.named(step.full_name)

    def named(self, name: str) -> MemoryQueue:
        """The queue of a name, made when it is new."""
        return self.queues.setdefault(name, MemoryQueue(name))

    def sink(self, name: str, path: str) -> Callable[[Message], Any]:
        """Writes to the queue of a name, wherever its path leads in production."""
        return self.named(name).append_now

    def existing(self, name: str) -> MemoryQueue:
        """The queue of a name that the graph has."""
        if name not in self.queues:
            raise GraphError(f"there is no queue '{name}'{near(name, self.queues)}")
        return self.queues[name]

    @property
    def backlog(self) -> int:
        """How many messages are not read yet."""
        return sum(queue.lag for queue in self.queues.values())

    async def start(self, engine: Engine) -> None:
        """Read every queue that something follows. On the engine's loop."""
        for name in engine.plan.entries:
            reader = asyncio.get_running_loop().create_task(_read(weakref.ref(engine), self.queues[name], name))
            self._readers.append(reader)
            _reading.add(reader)
            reader.add_done_callback(_reading.discard)

    async def settled(self) -> bool:
        """Always; what is not read yet is in :attr:`backlog`."""
        return True

    async def end_reading(self) -> None:
        """Nothing: what is in memory is read to its end, as nobody else can."""

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Read no more."""
        for reader in self._readers:
            reader.cancel()


_reading: set[asyncio.Task[None]] = set()
"""Loops keep tasks weakly; these would vanish in the midst of their work together with a server that is forgotten."""


async def _read(forgettable: weakref.ref[Engine], queue: MemoryQueue, name: str) -> None:
    """Read for an engine, which may be forgotten meanwhile: its loop ends then, and with it this."""
    async for message in queue.read():
        engine = forgettable()
        if engine is None or not await _feed(engine, message, engine.plan.entries[name][1]):
            return
        del engine


async def _feed(engine: Engine, message: Message, unit: Unit) -> bool:
    """Let a message in; whether more may come."""
    try:
        event = to_event(message)
    except Exception as error:
        engine.report(Event(message.value), error, unit.info)
        return True
    try:
        await engine.gate.enter_async()
    except Draining:
        return False
    engine.feed(event, unit)
    return True
