"""A route as its router sees it: something that runs an event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from ...errors import MillraceError, StepError
from .event import Event
from .unit import EVENT, StepInfo, body_of, failed


class Route:
    """One compiled route of a router, that of a plain step.

    :ivar name: the route's key
    :ivar target: the object behind it, for instance a model server; ``None`` for functions and flows
    :ivar is_async: whether :meth:`run` gives an awaitable

    A custom router calls ``self.routes["m1"].run(event)``, awaiting it where ``is_async``; the event comes back with
    the route's result as its body. What the route raises comes as a :class:`~millrace.errors.StepError` that names the
    route, with the exception as its ``__cause__``; errors of Millrace, which have a status, come as they are.
    """

    __slots__ = ("_call", "_kind", "info", "name", "target")

    is_async = False

    def __init__(self, name: str, kind: int, call: Callable[[Any], Any], info: StepInfo, *, target: Any) -> None:
        self.name = name
        self.target = target
        self.info = info
        self._kind = kind
        self._call = call

    def run(self, event: Event) -> Event | Awaitable[Event]:
        """The event with the route's result as its body, or an awaitable of it."""
        body, call = event.body, self._call
        try:
            if self._kind == EVENT:
                result = call(event)
                if result is not event:
                    event.body = body_of(event, result, self.info.path)
            else:
                event.body = call(body)
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


class AsyncRoute(Route):
    """The route of a step that is awaited."""

    __slots__ = ()

    is_async = True

    async def run(self, event: Event) -> Event:
        """The event with the route's result as its body."""
        body = event.body
        try:
            result = await self._call(event if self._kind == EVENT else body)
            event.body = body_of(event, result, self.info.path) if self._kind == EVENT else result
        except (Exception, SystemExit) as error:
            self._fail(event, body, error)
        return event
