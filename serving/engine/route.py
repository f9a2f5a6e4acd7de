"""A route as its router sees it: something that runs an event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from ...errors import MillraceError, StepError
from .event import Event
from .unit import EVENT, StepInfo, failed


class Route:
    """One compiled route of a router.

    :ivar name: the route's key
    :ivar target: the object behind it, for instance a model server; ``None`` for functions and flows
    :ivar is_async: whether :meth:`run` gives an awaitable

    A custom router calls ``self.routes["m1"].run(event)``, awaiting it where ``is_async``; the event comes back with
    the route's result as its body. What the route raises comes as a :class:`~millrace.errors.StepError` that names the
    route, with the exception as its ``__cause__``; errors of Millrace, which have a status, come as they are.
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
        except (Exception, SystemExit) as error:
            self._fail(event, body, error)
        return event

    async def _run_async(self, event: Event) -> Event:
        body = event.body
        try:
            event.body = await self._call(event if self._kind == EVENT else body)
        except (Exception, SystemExit) as error:
            self._fail(event, body, error)
        return event

    def _fail(self, event: Event, body: Any, error: BaseException) -> NoReturn:
        """Let the error go on with this route's path: on its way out the event is marked with the router's."""
        if isinstance(error, MillraceError):
            failed(event, body, self.info, error)
        text = f"step '{self.info.path}' of {self.info.graph} failed: {type(error).__name__}: {error}"
        told = StepError(text, step=self.info.path, event_id=event.id)
        told.__cause__ = error
        failed(event, body, self.info, told)

    def __repr__(self) -> str:
        return f"Route({self.info.path!r})"
