"""The real streams of a function: queues at their addresses, and a stream door for each that is read here."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...errors import MillraceError
from ...queues.address import queue_at
from ...queues.base import Queue
from ...queues.message import Message
from ..engine.engine import Engine
from ..engine.event import MockTrigger
from ..engine.queue_unit import QueueUnit
from ..engine.unit import Unit
from ..graph.step import QueueStep
from .consumer import StreamDoor
from .wiring import Wire, Wiring

logger = logging.getLogger("millrace.stream")

SINK_MESSAGES = 10_000


class RealStream:
    """What a queue step writes to. It is opened once, at the start or when it is first needed."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.appended = 0
        self._queue = queue_at(wire.url, wire.settings)
        self._opening: asyncio.Future[Queue] | None = None

    async def opened(self) -> Queue:
        """The queue, open."""
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.ensure_future(self._queue.open())
        return await asyncio.shield(self._opening)

    async def append(self, message: Message) -> Message:
        """Append a message; it is safe when this returns."""
        queue = await self.opened()
        (kept,) = await queue.append([message])
        self.appended += 1
        return kept

    async def close(self) -> None:
        """Close what was opened."""
        if self._opening is not None and self._opening.done() and self._opening.exception() is None:
            await self._opening.result().close()


class RealStreams:
    """The streams of a function that runs.

    :param readers: how many functions read a queue, by the queue step's full name
    :param triggers: streams that feed the whole graph
    :ivar doors: the stream doors, once started
    """

    def __init__(
        self, wiring: Wiring, *, readers: dict[str, int] | None = None, triggers: list[Wire] | None = None
    ) -> None:
        self.wiring = wiring
        self.doors: list[StreamDoor] = []
        self._readers = readers or {}
        self._triggers = triggers or []
        self._streams: dict[str, RealStream] = {}
        self._letters: dict[str, RealStream] = {}
        self._running: list[asyncio.Task[None]] = []
        self._sinks: list[Sink] = []
        self.on_fault: Callable[[BaseException], None] = lambda error: None

    def open(self, step: QueueStep) -> RealStream:
        """The stream of a queue step."""
        name = step.full_name
        if name not in self._streams:
            self._streams[name] = RealStream(self.wiring.of_step(step, readers=self._readers.get(name, 1)))
        return self._streams[name]

    def sink(self, name: str, path: str) -> Callable[[Message], None]:
        """Where the errors or the records of models go, at an address; from any thread, without waiting."""
        stream = RealStream(self.wiring.wire(name, path, {}, where=f"the {name}"))
        self._streams[name] = stream
        sink = Sink(stream)
        self._sinks.append(sink)
        return sink.put

    @property
    def backlog(self) -> int:
        """How many messages were taken in and are not done."""
        return sum(door.in_flight for door in self.doors)

    async def start(self, engine: Engine) -> None:
        """Open what the graph writes to and reads from, and begin to read. On the engine's loop.

        :raises Exception: a stream can not be opened
        """
        for sink in self._sinks:
            sink.start()
        written = [unit.stream for unit in engine.plan.units if isinstance(unit, QueueUnit)]
        for stream in written:
            if isinstance(stream, RealStream):
                await stream.opened()
        for name, (_, unit) in engine.plan.entries.items():
            await self._read(engine, unit, self._streams[name])
        for wire in self._triggers:
            await self._read(engine, engine.plan.root, RealStream(wire))

    async def _read(self, engine: Engine, unit: Unit, stream: RealStream) -> None:
        wire = stream.wire
        self._streams[f"{wire.name} (read)"] = stream
        door = StreamDoor(
            engine, unit, await stream.opened(), group=wire.group, policy=wire.policy,
            dead_letters=lambda: self._dead_letters(wire), trigger=MockTrigger(wire.url.partition("://")[0], wire.name),
            content_type=wire.content_type,
        )  # fmt: skip
        self.doors.append(door)
        self._running.append(asyncio.get_running_loop().create_task(self._run(door)))

    async def _run(self, door: StreamDoor) -> None:
        try:
            await door.run()
        except Exception as error:
            logger.critical("%s is not read any more: %s", door.queue.url, error)
            self.on_fault(error)

    async def _dead_letters(self, wire: Wire) -> Queue:
        if wire.dead_letters not in self._letters:
            settings = replace(wire.settings, partitions=1, retention_seconds=None, retention_bytes=None)
            self._letters[wire.dead_letters] = RealStream(replace(wire, url=wire.dead_letters, settings=settings))
        return await self._letters[wire.dead_letters].opened()

    async def settled(self) -> bool:
        """Whether the groups that read here have done all that was written."""
        for door in self.doors:
            if any((await door.queue.lag(door.group)).values()):
                return False
        return True

    async def end_reading(self) -> None:
        """Take no more messages, let those inside end, commit, and leave the groups."""
        for door in self.doors:
            door.stop()
        await asyncio.gather(*self._running)

    async def close(self) -> None:
        """Write what is left to be written, and close all streams."""
        await self.end_reading()
        for sink in self._sinks:
            await sink.close()
        for stream in [*dict.fromkeys(self._streams.values()), *self._letters.values()]:
            try:
                await stream.close()
            except (MillraceError, OSError) as error:
                logger.error("%s could not be closed: %s", stream.wire.url, error)

    async def measured(self) -> dict[str, Any]:
        """The counts, and the lag of the groups that read here, for the table of ``millrace up``."""
        found = self.status()
        for door in self.doors:
            found["read"][door.queue.url]["lag"] = sum((await door.queue.lag(door.group)).values())
        return found

    def status(self) -> dict[str, Any]:
        """Counts of this process, in messages."""
        return {
            "read": {
                door.queue.url: {"group": door.group, "in": door.counts.received, "done": door.counts.done,
                                 "retried": door.counts.retried, "dead_letters": door.counts.dead_lettered,
                                 "skipped": door.counts.skipped, "in_flight": door.in_flight}
                for door in self.doors
            },
            "out": sum(stream.appended for stream in set(self._streams.values())),
        }  # fmt: skip


class Sink:
    """Writes messages in the background; while its stream is away it keeps the last 10,000."""

    def __init__(self, stream: RealStream) -> None:
        self._stream = stream
        self._waiting: deque[Message] = deque(maxlen=SINK_MESSAGES)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing: asyncio.Task[None] | None = None

    def put(self, message: Message) -> None:
        """Take a message, from any thread."""
        self._waiting.append(message)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._write)

    def start(self) -> None:
        """Begin to write, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._write()

    def _write(self) -> None:
        if self._waiting and (self._writing is None or self._writing.done()):
            self._writing = asyncio.get_running_loop().create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._waiting:
            try:
                await self._stream.append(self._waiting[0])
            except Exception as error:
                logger.error("%s can not be written: %s", self._stream.wire.url, error)
                return
            self._waiting.popleft()

    async def close(self) -> None:
        """Try once more to write what waits."""
        self._write()
        if self._writing is not None:
            await self._writing
        self._loop = None

