"""A route as its router sees it: something that runs an event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .event import Event
from .unit import EVENT, StepInfo, failed


class Route:
    """One compiled route of a router.

    :ivar name: the route's key
    :ivar target: the object behind it, for instance a model server; ``None`` for functions and flows
    :ivar is_async: whether :meth:`run` gives an awaitable

    A custom router calls ``self.routes["m1"].run(event)``, awaiting it where ``is_async``; the event comes back with
    the route's result as its body.
    """

    __slots__ = ("_call", "_kind", "info", "is_async", "name", "run", "target")

    def __init__(
        self, name: str, kind: int, call: Callable[[Any], Any], info: StepInfo, *, is_async: bool, target: Any
    ) -> None:
        self.name = name
        self.target = target
        self.is_async = is_async
        self.info = info
        self._kind = kind
        self._call = call
        self.run: Callable[[Event], Event | Awaitable[Event]] = self._run_async if is_async else self._run_plain

    def _run_plain(self, event: Event) -> Event:
        body = event.body
        try:
            event.body = self._call(event if self._kind == EVENT else body)
        except Exception as error:
            failed(event, body, self.info, error)
        return event

    async def _run_async(self, event: Event) -> Event:
        body = event.body
        try:
            event.body = await self._call(event if self._kind == EVENT else body)
        except Exception as error:
            failed(event, body, self.info, error)
        return event

    def __repr__(self) -> str:
        return f"Route({self.info.path!r})"
