"""Merge: the branches of an event, or the events of one key, become one again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ..errors import MergeIncomplete
from .base import HoldingStep, Held, Release


@dataclass(slots=True)
class _Join:
    since: float
    items: list[Held] = field(default_factory=list)


class Merge(HoldingStep):
    """Join what comes from several steps into one event whose body is the list of their bodies.

    The parts of a join belong to one event (its branches) or, with `key_path`, to one key. The list is in the order of
    the steps that lead here. A join that can not be completed does not wait: as soon as no other branch of the event is
    alive, more than `max_behind` younger joins are open, or the time is over, it fails with the missing steps named
    (HTTP 504), or goes on with what is there. Nothing of it stays in memory.

    :param key_path: a path such as ``"user.id"`` into the body, or a function of the event; default: the event's id
    :param max_behind: how many joins may be open at a time
    :param timeout_seconds: how long a join may take
    :param expected_num_events: how many parts make a join; default: the number of steps that lead here
    :param on_missing: ``"error"`` or ``"partial"``
    :param full_event: the list holds events instead of bodies
    """

    joins: ClassVar[bool] = True

    def __init__(
        self,
        full_event: bool | None = None,
        key_path: str | Callable[[Any], Any] | None = None,
        max_behind: int | None = None,
        expected_num_events: int | None = None,
        timeout_seconds: float = 30.0,
        on_missing: Literal["error", "partial"] = "error",
        name: str | None = None,
    ) -> None:
        if on_missing not in ("error", "partial"):
            raise ValueError(f"on_missing={on_missing!r} is neither 'error' nor 'partial'")
        self.full_event = full_event
        self.key_path = key_path
        self.max_behind = 64 if max_behind is None else max_behind
        self.expected_num_events = expected_num_events
        self.timeout_seconds = timeout_seconds
        self.on_missing = on_missing
        self.name = name or "merge"
        self._inlets: list[str] = []
        self._joins: dict[Any, _Join] = {}

    def expects(self, inlets: list[str]) -> None:
        """Learn which steps lead here."""
        self._inlets = inlets

    def merge_function(self, parts: list[Any]) -> Any:
        """The body of the joined event; override it for another than the list itself."""
        return parts

    def get_join_key(self, event: Any) -> Any:
        """What the parts of one join have in common."""
        if self.key_path is None:
            return event.id
        if callable(self.key_path):
            return self.key_path(event)
        value = event.body
        for part in self.key_path.split("."):
            value = value[part]
        return value

    def add(self, item: Held, now: float) -> list[Release]:
        """Take a part; a complete join leaves, and the oldest one when too many are open."""
        key = self.get_join_key(item.event)
        join = self._joins.setdefault(key, _Join(now))
        join.items.append(item)
        if len(join.items) >= self._expected:
            return [self._leave(key)]
        if len(self._joins) > self.max_behind:
            oldest = next(iter(self._joins))
            return [self._leave(oldest, f"more than {self.max_behind} younger joins are open (max_behind)")]
        return []

    def expire(self, now: float) -> list[Release]:
        """The joins whose time is over."""
        late = [key for key, join in self._joins.items() if join.since + self.timeout_seconds <= now]
        return [self._leave(key, f"{self.timeout_seconds:g} s are over (timeout_seconds)") for key in late]

    def next_deadline(self) -> float | None:
        """When the oldest join's time is over."""
        oldest = next(iter(self._joins.values()), None)
        return None if oldest is None else oldest.since + self.timeout_seconds

    def flush(self) -> list[Release]:
        """All joins; each is incomplete."""
        return [self._leave(key, "the flow was flushed") for key in list(self._joins)]

    def orphaned(self, item: Held) -> list[Release]:
        """The join of an event whose other branches ended elsewhere."""
        if self.key_path is not None:
            return []
        key = self.get_join_key(item.event)
        return [self._leave(key, "the other branches of the event ended before")] if key in self._joins else []

    @property
    def open_joins(self) -> int:
        """How many joins wait for parts."""
        return len(self._joins)

    @property
    def _expected(self) -> int:
        return self.expected_num_events or len(self._inlets)

    def _leave(self, key: Any, why: str | None = None) -> Release:
        items = self._joins.pop(key).items
        order = {name: place for place, name in enumerate(self._inlets)}
        items.sort(key=lambda item: order.get(item.inlet, len(order)))
        if why is not None and self.on_missing == "error":
            here = {item.inlet for item in items}
            missing = [name for name in self._inlets if name not in here]
            what = f"nothing came from {', '.join(missing)}" if missing else f"{len(items)} of {self._expected} came"
            return Release(items, error=MergeIncomplete(f"step '{self.name}' could not join {key!r}: {what}; {why}"))
        parts = [item.event if self.full_event else item.body for item in items]
        return Release(items, self.merge_function(parts))
