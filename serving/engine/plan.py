"""A compiled graph: units and how they are joined. It knows no event and no loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..graph.step import QueueStep
from .execution import Resources
from .hold import HoldUnit, Inlet
from .unit import Segment, Unit


@dataclass(eq=False)
class Plan:
    """What runs.

    :param root: where events come in
    :param answers: whether a responder gives the answer; otherwise it is the event's id, at once
    :param entries: where the events of a queue come in, by the queue step's name
    :param objects: the step objects by path, for readiness and metadata
    :ivar forgets: who asks is told the event's id at once, and nothing more of it: nothing answers or is written
    :ivar inline: nothing needs a loop: the caller's thread runs it all
    :ivar chain: the whole graph, where it is one segment
    """

    title: str
    root: Unit
    answers: bool
    engine: str
    entries: dict[str, tuple[QueueStep, Unit]] = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    catchers: list[Unit] = field(default_factory=list)
    max_in_flight: int | None = None
    forgets: bool = False
    inline: bool = False
    chain: Segment | None = None

    @property
    def units(self) -> list[Unit]:
        """All units, those that events reach first first."""
        starts = [self.root, *(unit for _, unit in self.entries.values())]
        return list(reachable([*starts, *self.catchers]))

    @property
    def holds(self) -> list[HoldUnit]:
        """The batches and joins, in the order in which events reach them."""
        found = (unit.hold for unit in self.units if isinstance(unit, Inlet))
        return list(dict.fromkeys(found))


def followers(unit: Unit) -> Iterable[Unit]:
    """The units that an event can go to from a unit, errors included."""
    after = (unit.hold,) if isinstance(unit, Inlet) else unit.outlets
    return (*after, unit.info.catcher) if unit.info.catcher is not None else after


def reachable(starts: Iterable[Unit]) -> Iterator[Unit]:
    """All units that can be reached, breadth first."""
    todo = list(dict.fromkeys(starts))
    seen = set(todo)
    for unit in todo:
        yield unit
        infos = [op[2].catcher for op in unit.ops] if isinstance(unit, Segment) else []
        for other in (*followers(unit), *infos):
            if other is not None and other not in seen:
                seen.add(other)
                todo.append(other)
