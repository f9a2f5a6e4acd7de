"""What a step of the library tells the engine: which kind of operation it is, and the function that does it.

User classes need none of this: a class with ``do(body)`` or ``do_event(event)`` is a step. A library step is a
:class:`LibraryStep` (it maps, filters or multiplies one event) or a :class:`HoldingStep` (it keeps events and lets them
go later, such as a batch or a join).
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, Literal, Self

OperationKind = Literal["map", "filter", "flat_map"]
OfPart = tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]


class Dropped:
    """The type of :data:`DROPPED`, the body of an event that ends here without a result."""

    def __repr__(self) -> str:
        return "DROPPED"

    def __bool__(self) -> bool:
        return False


DROPPED: Final = Dropped()


class LibraryStep:
    """A step whose `operation` the engine knows.

    :cvar operation: ``map`` (body to body; the result may be :data:`DROPPED`), ``filter`` (body to truth) or
        ``flat_map`` (body to any number of bodies)
    :ivar of_part: with an ``input_path=``, where the result shall not take the place of the whole body: the function of
        the part, and the one that puts its result into the whole

    >>> class Positive(LibraryStep):
    ...     operation = "filter"
    >>> import millrace
    >>> fn = millrace.new_function("positive")
    >>> _ = fn.set_topology("flow").to(Positive(lambda body: body > 0), name="positive").respond()
    >>> server = fn.to_mock_server()
    >>> server.test(body=5), server.test(body=-5)
    (5, None)
    """

    operation: ClassVar[OperationKind] = "map"
    execution: str | None = None
    of_part: OfPart | None = None

    def __init__(self, fn: Callable[..., Any]) -> None:
        if not callable(fn):
            hint = "; an expression or a name is given as _fn=" if isinstance(fn, str) else ""
            raise TypeError(f"{type(self).__name__}: fn= must be a function, not {type(fn).__name__}{hint}")
        self.fn = fn


def is_async(fn: Any) -> bool:
    """Whether calling `fn` gives a coroutine: an ``async def``, a partial of one, or an object with an async call."""
    while isinstance(fn, partial):
        fn = fn.func
    if inspect.iscoroutinefunction(fn):
        return True
    return not inspect.isroutine(fn) and not isinstance(fn, type) and inspect.iscoroutinefunction(type(fn).__call__)


def then(fn: Callable[..., Any], finish: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """A function that gives ``finish(body, fn(body))``; async where `fn` is."""
    if is_async(fn):

        async def call_async(body: Any) -> Any:
            return finish(body, await fn(body))

        return call_async

    def call(body: Any) -> Any:
        return finish(body, fn(body))

    return call


def body_stays(body: Any, _: Any) -> Any:
    """Finish with the body as it was."""
    return body


@dataclass(slots=True, eq=False)
class Held:
    """An event inside a holding step.

    :param token: what the engine recognises the event by; the step only hands it back
    :param event_id: equal for all branches of one event
    :param inlet: the name of the step it came from
    """

    body: Any
    event: Any
    inlet: str
    token: Any = None

    @property
    def event_id(self) -> str:
        event_id: str = self.event.id
        return event_id


@dataclass(slots=True, eq=False)
class Release:
    """Events that leave a holding step together: as one event with `body`, or failed with `error`."""

    items: list[Held]
    body: Any = None
    error: Exception | None = None
    key: Any = None


class HoldingStep(ABC):
    """A step that keeps events. It is told the time and never reads a clock; it is called by one thread.

    :cvar joins: it waits for the branches of one event, which therefore must not wait for anything else

    >>> class Pairs(HoldingStep):
    ...     kept: tuple[Held, ...] = ()
    ...     def add(self, item, now):
    ...         self.kept = (*self.kept, item)
    ...         return self.flush() if len(self.kept) == 2 else []
    ...     def expire(self, now):
    ...         return []
    ...     def next_deadline(self):
    ...         return None
    ...     def flush(self):
    ...         items, self.kept = list(self.kept), ()
    ...         return [Release(items, [item.body for item in items])] if items else []
    >>> import millrace
    >>> function, pairs = millrace.new_function("pairs"), []
    >>> _ = function.set_topology("flow").to(Pairs(), name="pairs").to(name="keep", handler=pairs.append)
    >>> with function.to_mock_server() as server:
    ...     _ = [server.test(body=number) for number in range(3)]
    >>> pairs
    [[0, 1], [2]]
    """

    joins: ClassVar[bool] = False

    def for_server(self) -> Self:
        """The step as one server runs it: with the same settings, and nothing held for another. Default: itself."""
        return self

    def expects(self, inlets: list[str]) -> None:  # noqa: B027 - most steps need not know
        """Learn the names of the steps that lead here."""

    def is_answered_behind(self) -> None:  # noqa: B027 - joins have a time limit of their own
        """Learn that callers wait for an answer which lies behind this step."""

    @abstractmethod
    def add(self, item: Held, now: float) -> list[Release]:
        """Take an event; what is complete now leaves."""

    @abstractmethod
    def expire(self, now: float) -> list[Release]:
        """What leaves because of the time."""

    @abstractmethod
    def next_deadline(self) -> float | None:
        """When :meth:`expire` should be called next."""

    @abstractmethod
    def flush(self) -> list[Release]:
        """Everything leaves: the flow ends or is waited for."""

    def orphaned(self, item: Held) -> list[Release]:
        """What leaves because no other branch of `item`'s event is alive."""
        return []
