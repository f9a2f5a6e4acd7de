"""Batch: several events become one whose body is their list."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, Self

from ..errors import InvalidInput
from .base import Held, HoldingStep, Release

ANSWER_AFTER_SECONDS = 1.0


class Batch(HoldingStep):
    """Collect events and let them go together, as a list of bodies.

    Every event of a batch stays open until the batch is done; a responder after the batch answers all of them with the
    same result.

    :param max_events: a batch of this size leaves
    :param flush_after_seconds: a batch leaves this long after its first event; default: never before it is full, but
        where callers wait for an answer behind it, 1 s
    :param key_field: batch by this field of the body, ``"$key"`` for the event's key, or a function of the event
    :param drop_key_field: remove that field from the bodies
    :param full_event: the list holds events instead of bodies

    >>> import millrace
    >>> fn, batches = millrace.new_function("batches"), []
    >>> _ = fn.set_topology("flow").to(Batch(max_events=2), name="two").to(name="keep", handler=batches.append)
    >>> with fn.to_mock_server() as server:
    ...     _ = [server.test(body=number) for number in range(3)]
    ...     server.wait_for_completion()
    >>> batches
    [[0, 1], [2]]
    """

    def __init__(
        self,
        max_events: int | None = None,
        flush_after_seconds: float | None = None,
        key_field: str | Callable[[Any], Any] | None = None,
        drop_key_field: bool = False,
        full_event: bool | None = None,
        name: str | None = None,
    ) -> None:
        if max_events is None and flush_after_seconds is None:
            raise ValueError("Batch needs max_events= or flush_after_seconds=")
        if max_events is not None and (not isinstance(max_events, int) or max_events < 1):
            raise ValueError(f"max_events={max_events!r:.60} must be a whole number of 1 or more")
        if flush_after_seconds is not None and not (
            isinstance(flush_after_seconds, (int, float)) and flush_after_seconds > 0
        ):
            raise ValueError(f"flush_after_seconds={flush_after_seconds!r:.60} must be a number over 0")
        self.max_events = max_events
        self.flush_after_seconds = flush_after_seconds
        self.key_field = key_field
        self.drop_key_field = drop_key_field
        self.full_event = full_event
        self.name = name
        self._batches: dict[Any, tuple[float, list[Held]]] = {}

    def for_server(self) -> Self:
        """The same batches, of one server."""
        step = copy(self)
        step._batches = {}
        return step

    def is_answered_behind(self) -> None:
        """Let no caller wait for events that may never come."""
        if self.flush_after_seconds is None:
            self.flush_after_seconds = ANSWER_AFTER_SECONDS

    def add(self, item: Held, now: float) -> list[Release]:
        """Take an event; a full batch leaves."""
        key = self._key(item)
        _, items = self._batches.setdefault(key, (now, []))
        items.append(item)
        if self.max_events is not None and len(items) >= self.max_events:
            return [self._leave(key)]
        return []

    def expire(self, now: float) -> list[Release]:
        """The batches whose time is over."""
        wait = self.flush_after_seconds
        if wait is None:
            return []
        return [self._leave(key) for key, (since, _) in list(self._batches.items()) if since + wait <= now]

    def next_deadline(self) -> float | None:
        """When the oldest batch leaves."""
        if self.flush_after_seconds is None or not self._batches:
            return None
        return min(since for since, _ in self._batches.values()) + self.flush_after_seconds

    def flush(self) -> list[Release]:
        """All batches."""
        return [self._leave(key) for key in list(self._batches)]

    def _key(self, item: Held) -> Any:
        if self.key_field is None:
            return None
        if callable(self.key_field):
            return self.key_field(item.event)
        if self.key_field == "$key":
            return item.event.key
        try:
            key = item.body[self.key_field]
            hash(key)
        except (KeyError, TypeError, IndexError) as error:
            text = f"step '{self.name or 'batch'}': the body has no key '{self.key_field}' (key_field) to batch by"
            raise InvalidInput(f"{text}: {type(error).__name__}: {error}") from error
        if self.drop_key_field:
            item.body = {name: value for name, value in item.body.items() if name != self.key_field}
        return key

    def _leave(self, key: Any) -> Release:
        _, items = self._batches.pop(key)
        return Release(items, [item.event if self.full_event else item.body for item in items], key=key)
