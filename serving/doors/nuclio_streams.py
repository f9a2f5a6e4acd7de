"""The streams of a function in Nuclio: it writes to them itself, and Nuclio's triggers bring what they hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...errors import GraphError
from ...queues.base import Queue
from ..engine.engine import Engine
from ..engine.event import MockTrigger
from ..engine.lean import only_bodies
from ..engine.unit import Segment, Unit
from .nuclio_event import topic_of, trigger_of
from .real_stream import RealStream
from .streams import RealStreams
from .wiring import Wire


@dataclass(frozen=True)
class Source:
    """A stream that Nuclio reads for this function.

    :param unit: where its messages come into the graph
    :ivar segment: all that is behind it, if that is one segment whose steps take bodies
    :param dead_letters: gives the queue for what fails, open; ``None`` where there is none
    """

    wire: Wire
    unit: Unit
    dead_letters: Callable[[], Awaitable[Queue]] | None = None

    @cached_property
    def segment(self) -> Segment | None:
        return only_bodies(self.unit)


class NuclioStreams(RealStreams):
    """Real streams that Nuclio reads. What runs the whole graph reads its own queues: no trigger does.

    :ivar sources: what Nuclio reads, once started
    """

    sources: list[Source]
    _found: dict[tuple[str, str], Source]

    async def start(self, engine: Engine) -> None:
        """Open what the graph writes to. On the engine's loop.

        :raises Exception: a stream can not be opened
        """
        self.sources, self._found = [], {}
        await super().start(engine)

    async def _read(self, engine: Engine, unit: Unit, stream: RealStream) -> None:
        if self.wiring.current == "*" and unit is not engine.plan.root:
            await super()._read(engine, unit, stream)
            return
        wire = stream.wire
        self.sources.append(Source(wire, unit, lambda: self._dead_letters(wire)))

    def source_of(self, engine: Engine, event: Any) -> Source:
        """Which of them an event of Nuclio's comes from: the only one, or that of its trigger's name or its topic.

        :raises GraphError: none
        """
        trigger, topic = trigger_of(event), topic_of(event)
        found = self._found.get((trigger.name, topic))
        if found is None:
            found = self._found[trigger.name, topic] = self._source(engine, trigger, topic)
        return found

    def _source(self, engine: Engine, trigger: MockTrigger, topic: str) -> Source:
        name = trigger.name
        if not self.sources:
            return Source(Wire(name, f"{trigger.kind}://{topic}"), engine.plan.root)
        if len(self.sources) == 1:
            return self.sources[0]
        end = f"/{topic.strip('/')}"
        by_topic = [one for one in self.sources if one.wire.url.rstrip("/").endswith(end)]
        for found in ([one for one in by_topic if one.wire.name == name], by_topic):
            if found:
                return found[0]
        for one in self.sources:
            if one.wire.name == name:
                return one
        known = ", ".join(f"'{one.wire.name}' ({one.wire.url})" for one in self.sources)
        raise GraphError(f"trigger '{name}' brings topic '{topic}', which is none of the queues read here: {known}")
