"""Runs an event through a part of a graph, such as a route that is a flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...deferred import asyncio
from ...steps.base import DROPPED
from .completion import Completion
from .delivery import settler
from .event import Event
from .plan import Plan

if TYPE_CHECKING:
    from .engine import Engine


def run_part(engine: Engine, plan: Plan, event: Event) -> Any:
    """The event after a part of the graph; an awaitable of it unless the part is inline."""
    if plan.inline:
        part = event.fork(event.body)
        event.body = _none_if_dropped(engine.run_inline(part, plan.root, part.body, part=True))
        return event
    return _run_on_loop(engine, plan, event)


async def _run_on_loop(engine: Engine, plan: Plan, event: Event) -> Event:
    outer = event._completion
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    part = event.fork(event.body)
    part._completion = Completion(
        settler(answer), lambda _: outer.release() if outer is not None else None, engine.orphaned, part=True
    )
    if outer is not None:
        outer.hold()
    engine.spawn(plan.root, part, part.body)
    try:
        with engine.walks.stalled(lambda: not answer.done()):
            event.body = _none_if_dropped(await answer)
    except asyncio.CancelledError:
        engine.abandon(part)
        raise
    return event


def _none_if_dropped(answer: Any) -> Any:
    return None if answer is DROPPED else answer
