"""Triggers of child functions that run in one process with their parent: what they send begins where the child does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from ..engine.engine import Engine
from ..engine.plan import Plan
from ..engine.unit import Segment, Unit
from .cron import Cron, CronDoor
from .real_stream import RealStream
from .streams import RealStreams
from .wiring import Wire

Readers = Mapping[str, set[str]]


def own_queues(readers: Readers, child: str) -> list[str]:
    """The queues behind which a child function begins; none where a queue is not its alone.

    :param readers: the functions that read each queue, by the queue step's full name

    >>> own_queues({"orders": {"billing"}, "log": {"billing"}, "bills": {"mail"}}, "billing")
    ['orders', 'log']
    >>> own_queues({"orders": {"billing", "mail"}}, "mail")
    []
    """
    names = [name for name, functions in readers.items() if child in functions or "*" in functions]
    return names if all(readers[name] == {child} for name in names) else []


def way_in(plan: Plan, queues: Sequence[str]) -> Unit:
    """Where a child function begins that begins behind these queues, as it does in a process of its own."""
    units = [plan.entries[name][1] for name in queues]
    if len(units) == 1:
        return units[0]
    start = Segment(units[0].info)
    start.outlets = tuple(units)
    start.reaches_async = any(unit.reaches_async for unit in units)
    return start


class StreamsOfAll(RealStreams):
    """The streams of a function and its child functions in one process.

    :param of_children: the streams and the clocks that feed each child function
    """

    def __init__(
        self, *arguments: Any, readers: Readers, of_children: Mapping[str, tuple[Sequence[Wire], Sequence[Cron]]],
        **settings: Any,
    ) -> None:  # fmt: skip
        super().__init__(*arguments, readers=readers, **settings)
        self._ways_in = {child: own_queues(readers, child) for child in of_children}
        self._of_children = of_children

    def _sources(self, engine: Engine) -> list[tuple[Unit, RealStream]]:
        found = super()._sources(engine)
        for child, (wires, _) in self._of_children.items():
            streams = [RealStream(wire) for wire in wires]
            self._others += streams
            found += [(way_in(engine.plan, self._ways_in[child]), stream) for stream in streams]
        return found

    async def start(self, engine: Engine) -> None:
        """Begin to read, and start the clocks."""
        await super().start(engine)
        if engine.context.worker_id == 0:
            clocks = [
                CronDoor(engine, cron, unit=way_in(engine.plan, self._ways_in[child]))
                for child, (_, crons) in self._of_children.items() for cron in crons
            ]  # fmt: skip
            self._clocks += clocks
            self._running += [asyncio.get_running_loop().create_task(clock.run()) for clock in clocks]
