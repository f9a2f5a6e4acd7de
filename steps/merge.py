"""Merge: the branches of an event, or the events of one key, become one again."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from ..errors import InvalidInput, MergeIncomplete
from .base import Held, HoldingStep, Release
from .expressions import compile_expression

MAX_BEHIND = 64


@dataclass(slots=True, eq=False)
class _Join:
    key: Any
    since: float
    items: list[Held] = field(default_factory=list)


class Merge(HoldingStep):
    """Join what comes from several steps into one event whose body is the list of their bodies.

    The parts of a join belong to one event (its branches) or, with `key_path`, to one key: one part from each step that
    leads here, in the order of these steps. What comes twice from the same step waits for the next join of its key. A
    join that can not be completed does not wait: as soon as no other branch of the event is alive, more than
    `max_behind` younger joins are open, or the time is over, it fails with the missing steps named (HTTP 504), or goes
    on with what is there. Nothing of it stays in memory.

    :param key_path: a path such as ``"user.id"`` into the body, an expression such as ``"event['user']"`` of the body
        (with `full_event` of the event), or a function of the event; default: the event's id
    :param max_behind: how many joins may be open at a time; default: 64 with a `key_path`, and without one as many as
        there are events in the function
    :param timeout_seconds: how long a join may take
    :param expected_num_events: so many parts make a join, wherever they come from
    :param on_missing: ``"error"`` or ``"partial"``
    :param full_event: the list holds events instead of bodies

    >>> import millrace
    >>> fn = millrace.new_function("both")
    >>> graph = fn.set_topology("flow")
    >>> _ = graph.add_step(name="plus", handler="(event + 1)"), graph.add_step(name="minus", handler="(event - 1)")
    >>> _ = graph.add_step(Merge(), name="both", after=["plus", "minus"]).respond()
    >>> fn.to_mock_server().test(body=5)
    [6, 4]
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
        for what, value in (("max_behind", max_behind), ("expected_num_events", expected_num_events or None)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{what}={value!r:.60} must be a whole number of 1 or more")
        if not isinstance(timeout_seconds, (int, float)) or not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds={timeout_seconds!r:.60} must be a number over 0")
        self._key_of = _key_expression(key_path, bool(full_event), name or "merge")
        self.full_event = full_event
        self.key_path = key_path
        self.max_behind = MAX_BEHIND if max_behind is None and key_path is not None else max_behind
        self.expected_num_events = expected_num_events
        self.timeout_seconds = timeout_seconds
        self.on_missing = on_missing
        self.name = name
        self._inlets: list[str] = []
        self._joins: dict[Any, list[_Join]] = {}
        self._by_age: dict[_Join, None] = {}

    def for_server(self) -> Self:
        """The same joins, of one server."""
        step = copy(self)
        step._inlets, step._joins, step._by_age = [], {}, {}
        return step

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
        if self._key_of is not None:
            return self._key_of(event)
        value = event.body
        for part in self.key_path.split("."):
            try:
                value = value[part]
            except (KeyError, TypeError, IndexError) as error:
                text = f"step '{self.name or 'merge'}': the body has no '{part}' on its key_path '{self.key_path}'"
                raise InvalidInput(text) from error
        return value

    def add(self, item: Held, now: float) -> list[Release]:
        """Take a part; a complete join leaves, and the oldest one when too many are open."""
        key = self.get_join_key(item.event)
        joins = self._joins.setdefault(key, [])
        join = next((one for one in joins if self._lacks(one, item.inlet)), None)
        if join is None:
            join = _Join(key, now)
            joins.append(join)
            self._by_age[join] = None
        join.items.append(item)
        if len(join.items) >= self._expected:
            return [self._leave(join)]
        if self.max_behind is not None and len(self._by_age) > self.max_behind:
            oldest = next(iter(self._by_age))
            return [self._leave(oldest, f"more than {self.max_behind} younger joins are open (max_behind)")]
        return []

    def expire(self, now: float) -> list[Release]:
        """The joins whose time is over."""
        late = [join for join in self._by_age if join.since + self.timeout_seconds <= now]
        return [self._leave(join, f"{self.timeout_seconds:g} s are over (timeout_seconds)") for join in late]

    def next_deadline(self) -> float | None:
        """When the oldest join's time is over."""
        oldest = next(iter(self._by_age), None)
        return None if oldest is None else oldest.since + self.timeout_seconds

    def flush(self) -> list[Release]:
        """All joins; each is incomplete."""
        return [self._leave(join, "the flow was flushed") for join in list(self._by_age)]

    def orphaned(self, item: Held) -> list[Release]:
        """The joins of an event whose other branches ended elsewhere."""
        key = self.get_join_key(item.event)
        if key != item.event_id:
            return []  # the parts come from other events
        joins = self._joins.get(key, [])
        return [self._leave(join, "the other branches of the event ended before") for join in list(joins)]

    @property
    def open_joins(self) -> int:
        """How many joins wait for parts."""
        return len(self._by_age)

    @property
    def _expected(self) -> int:
        return self.expected_num_events or len(self._inlets)

    def _lacks(self, join: _Join, inlet: str) -> bool:
        """Whether a part is for this join. What a catcher sends stands for any part that failed."""
        if self.expected_num_events or inlet not in self._inlets:
            return True
        return all(inlet != item.inlet for item in join.items)

    def _leave(self, join: _Join, why: str | None = None) -> Release:
        key, items = join.key, join.items
        del self._by_age[join]
        self._joins[key].remove(join)
        if not self._joins[key]:
            del self._joins[key]
        order = {name: place for place, name in enumerate(self._inlets)}
        items.sort(key=lambda item: order.get(item.inlet, len(order)))
        if why is not None and self.on_missing == "error":
            here = {item.inlet for item in items}
            missing = [name for name in self._inlets if name not in here]
            what = f"nothing came from {', '.join(missing)}" if missing else f"{len(items)} of {self._expected} came"
            text = f"step '{self.name or 'merge'}' could not join {key!r}: {what}; {why}"
            return Release(items, error=MergeIncomplete(text))
        parts = [item.event if self.full_event else item.body for item in items]
        try:
            return Release(items, self.merge_function(parts))
        except Exception as error:
            return Release(items, error=error)


def _key_expression(key_path: Any, full_event: bool, step: str) -> Callable[[Any], Any] | None:
    """The function of the event that a key path means which is an expression, as MLRun has them."""
    if not (key_path is None or callable(key_path) or (isinstance(key_path, str) and key_path)):
        raise ValueError(f"key_path={key_path!r:.60} must be a path, an expression or a function")
    starts = ("(", "event[", "event.") if full_event else ("(", "event[")
    if not isinstance(key_path, str) or not key_path.startswith(starts):
        return None
    expression = compile_expression(f"({key_path})", step=step)

    def key_of(event: Any) -> Any:
        try:
            return expression(event if full_event else event.body)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            text = f"step '{step}': the key_path {key_path!r} gives no key: {type(error).__name__}: {error}"
            raise InvalidInput(text) from error

    return key_of
