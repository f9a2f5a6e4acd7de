"""The parts of a compiled graph. A unit takes an event and its body and gives the body that goes on.

Whether a unit is async, what follows it and who catches its errors is decided once, when the graph is compiled. The
walk (`walk.py`) carries events from unit to unit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ...deferred import asyncio
from ...errors import GraphError, near
from ...steps.base import DROPPED
from .event import Event, Response

if TYPE_CHECKING:
    from .engine import Engine


class _Taken:
    def __repr__(self) -> str:
        return "TAKEN"


TAKEN: Final = _Taken()
"""The result of a unit that carries the event on by itself."""

MAP, FILTER = 0, 1
"""Kinds of the operations in a segment. The third, an event operation, is any other number."""
EVENT = 2

Op = tuple[int, Callable[..., Any], "StepInfo"]


@dataclass(eq=False, slots=True)
class StepInfo:
    """What is known of a step at run time: where errors in it come from, and where they go.

    :param path: the names from the graph's root to the step
    :param enclosing: the flow step around it, whose catcher is the next one
    :ivar own_catcher: the unit that gets the events which fail here
    """

    name: str
    path: str
    graph: str
    enclosing: StepInfo | None = None
    own_catcher: Unit | None = None

    @property
    def catcher(self) -> Unit | None:
        """The unit that gets the events which fail here: the step's, its flow's, or that of a flow around it."""
        if self.own_catcher is not None or self.enclosing is None:
            return self.own_catcher
        return self.enclosing.catcher


class Unit:
    """One part of a running graph.

    :param info: the step that it stands for; of several, the last
    :ivar outlets: the units that get the result
    :ivar responds: the result is the answer to the caller
    :ivar is_async: `run` gives an awaitable
    :ivar max_rounds: on a cycle: how often one event may come here
    :ivar share: branches share one body
    """

    __slots__ = ("info", "is_async", "max_rounds", "outlets", "reaches_async", "responds", "select", "share")

    def __init__(self, info: StepInfo) -> None:
        self.info = info
        self.outlets: tuple[Unit, ...] = ()
        self.responds = False
        self.is_async = False
        self.reaches_async = False
        self.max_rounds = 0
        self.share = False
        self.select: Callable[[Any], Sequence[Unit]] | None = None

    def run(self, engine: Engine, event: Event, body: Any) -> Any:
        """The new body, :data:`DROPPED`, or :data:`TAKEN`; an awaitable of it when `is_async`."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.info.path})"


class Segment(Unit):
    """Consecutive plain operations, run in one loop without anything between them."""

    __slots__ = ("ops",)

    def __init__(self, info: StepInfo, ops: tuple[Op, ...] = ()) -> None:
        super().__init__(info)
        self.ops = ops

    def run(self, engine: Engine, event: Event, body: Any) -> Any:
        info = None
        try:
            for kind, fn, info in self.ops:  # the handler below needs to know where it stopped
                if not kind:
                    body = fn(body)
                    if body is DROPPED:
                        return DROPPED
                elif kind == 1:
                    if not fn(body):
                        return DROPPED
                else:
                    event.body = body
                    result = fn(event)
                    body = event.body if result is event else body_of(event, result, info.path)
                    if body is DROPPED:
                        return DROPPED
        except BaseException as error:
            failed(event, body, info or self.info, error)
        return body


class AsyncUnit(Unit):
    """One operation that is awaited."""

    __slots__ = ("op",)

    def __init__(self, op: Op) -> None:
        super().__init__(op[2])
        self.op = op
        self.is_async = True

    async def run(self, engine: Engine, event: Event, body: Any) -> Any:
        kind, fn, info = self.op
        try:
            if kind == EVENT:
                event.body = body
                return body_of(event, await fn(event), info.path)
            result = await fn(body)
        except faults() as error:
            failed(event, body, info, error)
        if kind == FILTER:
            return body if result else DROPPED
        return result


def faults() -> tuple[type[BaseException], ...]:
    """What a step may raise that fails its event and nothing else; see :func:`failed`."""
    return Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError


def failed(event: Event, body: Any, info: StepInfo, error: BaseException) -> NoReturn:
    """Write into the event what failed and where, and let the exception go on.

    What would end the thread or the loop, and with it other events, becomes a ``RuntimeError``; but the user's Ctrl-C
    and the engine's own cancelling stay what they are.
    """
    event.body = body
    event._failed = info
    if isinstance(error, Exception) or _is_meant(error):
        raise error
    raise RuntimeError(f"the step raised {error!r}") from error


def _is_meant(error: BaseException) -> bool:
    if isinstance(error, KeyboardInterrupt):
        return threading.current_thread() is threading.main_thread()
    if not isinstance(error, asyncio.CancelledError):
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and task.cancelling() > 0


def body_of(event: Event, result: Any, step: str) -> Any:
    """The body of what a step that was given the full event returned."""
    if result is event:
        return event.body
    if isinstance(result, Event):
        event.adopt(result)
        return event.body
    if isinstance(result, Response) or result is DROPPED:
        return result
    raise TypeError(
        f"step '{step}' gets the full event and must return the event (or a Response), not {type(result).__name__}"
    )


class Outlets:
    """Chooses among a unit's outlets by the names that a step's ``select_outlets`` gives."""

    __slots__ = ("choose", "path", "units")

    def __init__(self, choose: Callable[[Any], Any], units: dict[str, Unit], path: str) -> None:
        self.choose = choose
        self.units = units
        self.path = path

    def __call__(self, body: Any) -> Sequence[Unit]:
        names = self.choose(body)
        if names is None:
            return tuple(self.units.values())
        try:
            return [self.units[name] for name in ((names,) if isinstance(names, str) else names)]
        except (KeyError, TypeError) as error:
            known = ", ".join(self.units)
            raise GraphError(
                f"step '{self.path}': select_outlets gave {names!r}; the steps that follow are: {known}"
                f"{near(str(names), self.units)}"
            ) from error
