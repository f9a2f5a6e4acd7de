"""The leanest way through a graph that is one segment: no event is made for a body unless it fails."""

from __future__ import annotations

from typing import Any

from .event import Event
from .unit import EVENT, Segment, StepInfo, Unit


class Scratch:
    """Stands for the event of a body in a segment whose steps take only bodies; says what failed, and where."""

    __slots__ = ("_failed", "body")

    body: Any
    _failed: StepInfo | None

    def failed_in(self, event: Event) -> Event:
        """The event that a body becomes when it has failed."""
        event.body, event._failed = self.body, self._failed
        return event


def only_bodies(unit: Unit | None) -> Segment | None:
    """The unit, if it is all there is behind it and its steps take bodies, not events."""
    if not isinstance(unit, Segment) or unit.outlets or unit.max_rounds:
        return None
    return unit if all(kind != EVENT for kind, _, _ in unit.ops) else None
