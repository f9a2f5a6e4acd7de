"""Steps that treat one event at a time: Map, MapClass, Filter, FlatMap, Flatten, Extend, ForEach."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import partial
from typing import Any, ClassVar

from .base import DROPPED, LibraryStep, OperationKind, body_stays, is_async, then

_dropped: ContextVar[list[bool] | None] = ContextVar("millrace_dropped", default=None)
"""Of the event that `do` is working on: not empty when it is to be dropped. Tasks that `do` makes see the same list."""


class Map(LibraryStep):
    """Replace the body by ``fn(body)``.

    :param fn: a function or expression of the body, plain or async
    :param long_running: run the function in a thread
    :param pass_context: give the function the graph's context as ``context=``
    :param fn_select_outlets: a function of the result that names the steps which get it

    >>> Map(lambda body: body * 2).fn(21)
    42
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        long_running: bool | None = None,
        pass_context: bool | None = None,
        fn_select_outlets: Callable[[Any], Any] | None = None,
        context: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(fn)
        if pass_context:
            self.fn = partial(fn, context=context)
        self.execution = "thread" if long_running else None
        self.name = name
        if fn_select_outlets is not None:
            self.select_outlets = fn_select_outlets


class Filter(Map):
    """Let the event pass if ``fn(body)`` is true; a dropped event answers ``None`` (HTTP 204).

    >>> bool(Filter(lambda body: body > 1).fn(1))
    False
    """

    operation: ClassVar[OperationKind] = "filter"


class FlatMap(Map):
    """Make one event of every item of ``fn(body)``, an iterable.

    >>> list(FlatMap(lambda body: body.split()).fn("a b"))
    ['a', 'b']
    """

    operation: ClassVar[OperationKind] = "flat_map"


class Flatten(LibraryStep):
    """Make one event of every item of the body.

    >>> Flatten().fn([1, 2])
    [1, 2]
    """

    operation: ClassVar[OperationKind] = "flat_map"

    def __init__(self, name: str | None = None) -> None:
        super().__init__(_itself)
        self.name = name


class Extend(Map):
    """Add the fields of ``fn(body)``, a dict, to the body, a dict; with an ``input_path=``, to the whole body.

    >>> Extend(lambda body: {"tag": "new"}).fn({"x": 1})
    {'x': 1, 'tag': 'new'}
    """

    def __init__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(fn, *args, **kwargs)
        self.of_part = (self.fn, _extended)
        self.fn = then(self.fn, _extended)


class ForEach(Map):
    """Call ``fn(body)`` for its effect; the body stays.

    >>> seen = []
    >>> ForEach(seen.append).fn(7), seen
    (7, [7])
    """

    def __init__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(fn, *args, **kwargs)
        self.of_part = (self.fn, body_stays)
        self.fn = then(self.fn, body_stays)


class MapClass(LibraryStep):
    """A base for steps with ``do(self, body)``, plain or async, that may call ``self.filter()`` to drop the event.

    >>> class Positive(MapClass):
    ...     def do(self, body):
    ...         return body if body > 0 else self.filter()
    >>> Positive().fn(-1)
    DROPPED
    """

    def __init__(self, long_running: bool | None = None, name: str | None = None) -> None:
        super().__init__(self._do_async if is_async(self.do) else self._do_plain)
        self.execution = "thread" if long_running else None
        self.name = name

    def do(self, body: Any) -> Any:
        """The new body."""
        raise NotImplementedError(f"{type(self).__name__} needs a method do(self, body)")

    def filter(self) -> None:
        """Drop the event that `do` is working on."""
        dropped = _dropped.get()
        if dropped is None:
            raise RuntimeError(f"{type(self).__name__}.filter() is for the time while do(body) works on an event")
        dropped.append(True)

    def _do_plain(self, body: Any) -> Any:
        dropped: list[bool] = []
        token = _dropped.set(dropped)
        try:
            result = self.do(body)
        finally:
            _dropped.reset(token)
        return DROPPED if dropped else result

    async def _do_async(self, body: Any) -> Any:
        dropped: list[bool] = []
        token = _dropped.set(dropped)
        try:
            result = await self.do(body)
        finally:
            _dropped.reset(token)
        return DROPPED if dropped else result


def _itself(body: Iterable[Any]) -> Iterable[Any]:
    return body


def _extended(body: Any, fields: Any) -> Any:
    body.update(fields)
    return body
