"""The real streams of a function: queues at their addresses, and a door for each that is read here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import GraphError
from ...queues.base import Queue
from ...queues.message import Message
from ..engine.engine import Engine
from ..engine.event import MockTrigger
from ..engine.queue_unit import QueueUnit
from ..engine.unit import Unit
from ..graph.step import QueueStep
from .consumer import StreamDoor
from .cron import Cron, CronDoor
from .exactly_once import ExactlyOnceDoor
from .exactly_once_rules import check_exactly_once, own_wire
from .memory_room import keep_room
from .queues import CLOSE_SECONDS
from .real_stream import RealStream
from .sink import Sink
from .wiring import Wire, Wiring

logger = logging.getLogger("millrace.stream")

EVERYWHERE = "*"
LAST_MEASURE_SECONDS = 2.0


class RealStreams:
    """The streams of a function that runs, and the clocks that send it events.

    :param readers: which functions read a queue, by the queue step's full name
    :param triggers: streams that feed the whole graph
    :param crons: clocks that do; the first of several processes of a function has them
    :ivar doors: the stream doors, once started
    :ivar faults: why streams are not read any more
    :ivar drain_seconds: how long the end of reading may wait, if that is less than a queue's own time
    """

    def __init__(
        self,
        wiring: Wiring,
        *,
        readers: Mapping[str, Collection[str]] | None = None,
        triggers: Sequence[Wire] = (),
        crons: Sequence[Cron] = (),
    ) -> None:
        self.wiring = wiring
        self.doors: list[StreamDoor | ExactlyOnceDoor] = []
        self.faults: list[BaseException] = []
        self.drain_seconds: float | None = None
        self.on_fault: Callable[[BaseException], None] = lambda error: None
        self._readers = readers or {}
        self._triggers = triggers
        self._crons = crons
        self._clocks: list[CronDoor] = []
        self._streams: dict[str, RealStream] = {}
        self._others: list[RealStream] = []
        self._letters: dict[str, RealStream] = {}
        self._running: list[asyncio.Task[None]] = []
        self._sinks: list[Sink] = []
        self._keeping: list[asyncio.Task[None]] = []
        self._lags: dict[StreamDoor | ExactlyOnceDoor, int] = {}
        self._measuring = asyncio.Lock()
        self._is_closed = False

    def open(self, step: QueueStep) -> RealStream:
        """The stream of a queue step."""
        name = step.full_name
        if name not in self._streams:
            self._streams[name] = RealStream(self.wiring.of_step(step, readers=len(self._readers.get(name, ()))))
        return self._streams[name]

    def sink(self, name: str, path: str) -> Callable[[Message], None]:
        """Where the errors or the records of models go, at an address; from any thread, without waiting."""
        stream = RealStream(self.wiring.wire(name, path, {}, where=f"the {name}"))
        self._others.append(stream)
        sink = Sink(stream, stream.wire.url)
        self._sinks.append(sink)
        return sink.put

    @property
    def backlog(self) -> int:
        """How many messages were taken in and are not done."""
        return sum(door.in_flight for door in self.doors)

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self, engine: Engine) -> None:
        """Open what the graph writes to and reads from, and begin to read. On the engine's loop.

        :raises Unavailable: a stream can not be opened
        :raises GraphError: two of them are one, or one can not be read as its settings say
        """
        sources = self._sources(engine)
        for unit, stream in sources:
            if stream.wire.policy.exactly_once:
                check_exactly_once(engine, unit, stream.wire, self._streams.values())
        for sink in self._sinks:
            sink.start()
        for unit in engine.plan.units:
            if isinstance(unit, QueueUnit) and isinstance(unit.stream, RealStream):
                await unit.stream.opened()
        for unit, stream in sources:
            await self._read(engine, unit, stream)
        if engine.context.worker_id == 0:
            self._clocks = [CronDoor(engine, cron) for cron in self._crons]
        self._running += [asyncio.get_running_loop().create_task(clock.run()) for clock in self._clocks]
        for stream in (*self._streams.values(), *self._others):
            await self._keep_room(stream)

    def _sources(self, engine: Engine) -> list[tuple[Unit, RealStream]]:
        """What is read here, and where it comes into the graph."""
        entries = engine.plan.entries.items()
        queues = [(unit, self._streams[name]) for name, (_, unit) in entries if self._is_read_here(name)]
        triggers = [RealStream(wire) for wire in self._triggers]
        self._others += triggers
        return [*queues, *((engine.plan.root, stream) for stream in triggers)]

    def _is_read_here(self, name: str) -> bool:
        """Whether a queue is read by what runs here; flows of several functions show each all of their queues."""
        readers = self._readers.get(name)
        return not readers or self.wiring.current == EVERYWHERE or bool({self.wiring.current, EVERYWHERE} & {*readers})

    async def _read(self, engine: Engine, unit: Unit, stream: RealStream) -> None:
        wire = stream.wire
        policy = wire.policy
        if self.drain_seconds is not None:
            policy = replace(policy, drain_seconds=min(policy.drain_seconds, self.drain_seconds))
        kind: type[StreamDoor] | type[ExactlyOnceDoor] = StreamDoor
        if policy.exactly_once:
            kind, stream = ExactlyOnceDoor, RealStream(own_wire(wire, engine.context.worker_id))
            self._others.append(stream)
        door = kind(
            engine, unit, await stream.opened(), group=wire.group, policy=policy,
            dead_letters=lambda: self._dead_letters(wire), trigger=MockTrigger(wire.url.partition("://")[0], wire.name),
            content_type=wire.content_type,
        )  # fmt: skip
        if any((other.queue.url, other.group) == (door.queue.url, door.group) for other in self.doors):
            raise GraphError(
                f"'{wire.name}' and another queue or trigger of this function read {wire.url} as one group "
                f"'{wire.group}', so that each would get a part of it; give one of them another group="
            )
        self.doors.append(door)
        self._running.append(asyncio.get_running_loop().create_task(self._run(engine, door)))

    async def _keep_room(self, stream: RealStream) -> None:
        """In memory, nothing stays that is done with."""
        if stream.wire.is_private:
            queue = await stream.opened()
            groups = {door.group for door in self.doors if door.queue.url == queue.url}
            self._keeping.append(asyncio.get_running_loop().create_task(keep_room(queue, groups)))

    async def _run(self, engine: Engine, door: StreamDoor | ExactlyOnceDoor) -> None:
        try:
            await door.run()
        except Exception as error:
            logger.critical("%s is not read any more: %s", door.queue.url, error)
            engine.faults.append(f"{door.queue.url} is not read any more: {error}")
            self.faults.append(error)
            self.on_fault(error)

    async def _dead_letters(self, wire: Wire) -> Queue:
        if wire.dead_letters not in self._letters:
            settings = replace(wire.settings, partitions=1, retention_seconds=None, retention_bytes=None)
            is_private = wire.is_private and wire.dead_letters.startswith("memory://")
            letters = replace(wire, name=f"{wire.name} (dead letters)", url=wire.dead_letters, settings=settings)
            stream = self._letters[wire.dead_letters] = RealStream(replace(letters, is_private=is_private))
            await self._keep_room(stream)
        return await self._letters[wire.dead_letters].opened()

    async def settled(self) -> bool:
        """Whether the groups that read here have done all that was written."""
        for door in self.doors:
            if any((await door.queue.lag(door.group)).values()):
                return False
        return True

    async def end_reading(self) -> None:
        """Take no more messages, let those inside end, commit, and leave the groups."""
        await self._stop_reading()
        if self._lags:
            await self._measure_at_end()

    async def _stop_reading(self) -> None:
        for clock in self._clocks:
            clock.stop()
        for door in self.doors:
            door.stop()
        await asyncio.gather(*self._running)

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Write what is left to be written, and close all streams, all at the same time.

        :param seconds: for both, after reading has ended; half of it for what is left
        """
        await self._stop_reading()
        for task in self._keeping:
            task.cancel()
        end = time.monotonic() + seconds
        await asyncio.gather(*(sink.close(seconds / 2) for sink in self._sinks))
        async with self._measuring:  # no stream is asked for its lag while it is closed
            self._is_closed = True
        left = end - time.monotonic()
        streams = [*self._streams.values(), *self._others, *self._letters.values()]
        await asyncio.gather(*(_close(stream, left) for stream in streams))

    # -- counts --------------------------------------------------------------------------------------------------

    async def measured(self) -> dict[str, Any]:
        """The counts, with the lag of the groups that read here, for the table of ``millrace up``."""
        async with self._measuring:
            for door in self.doors if not self._is_closed else ():
                self._lags[door] = sum((await door.queue.lag(door.group)).values())
        return self.status()

    async def _measure_at_end(self) -> None:
        """Once more, as what was measured a second ago looks as if messages had been left."""
        try:
            await asyncio.wait_for(self.measured(), LAST_MEASURE_SECONDS)
        except Exception as error:
            logger.debug("the lags could not be measured at the end: %s", error)

    def status(self) -> dict[str, Any]:
        """Counts of this process, in messages; the lags are those that were measured last."""
        return {
            "read": [
                {"url": door.queue.url, "group": door.group, "in": door.counts.received, "done": door.counts.done,
                 "retried": door.counts.retried, "dead_letters": door.counts.dead_lettered,
                 "skipped": door.counts.skipped, "in_flight": door.in_flight, "lag": self._lags.get(door, 0)}
                for door in self.doors
            ],
            "ticks": sum(clock.sent for clock in self._clocks),
            "out": sum(stream.appended for stream in self._streams.values()),
        }  # fmt: skip


async def _close(stream: RealStream, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stream.close()
    except TimeoutError:
        logger.error("%s was not closed in %.1f s", stream.wire.url, seconds)
    except Exception as error:
        logger.error("%s could not be closed: %s", stream.wire.url, error)
