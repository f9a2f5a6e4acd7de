"""Waiting until an engine has nothing left to do, and letting go what its batches and joins hold meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...deferred import asyncio
from .hold import HoldUnit, Inlet
from .plan import Plan, followers
from .unit import Unit

if TYPE_CHECKING:
    from .engine import Engine

POLL_SECONDS = 0.002
"""How often to look again for what tells nobody when it changes, such as an event between a caller and the loop."""


def holds_in_order(plan: Plan) -> list[HoldUnit]:
    """The batches and joins of a graph and of the flows in its routes; one that leads to another comes before it."""
    holds = plan.resources.holds
    reached = {hold: _holds_behind(hold) for hold in holds}
    # What is behind a later one is behind the earlier one too, so that the earlier one has more behind it.
    return sorted(holds, key=lambda hold: -len(reached[hold]))


def _holds_behind(start: HoldUnit) -> set[HoldUnit]:
    found: set[HoldUnit] = set()
    seen: set[Unit] = {start}
    todo: list[Unit] = [start]
    for unit in todo:
        for after in followers(unit):
            if after not in seen:
                seen.add(after)
                todo.append(after)
                if isinstance(after, Inlet):
                    found.add(after.hold)
    return found


async def flush(engine: Engine, *, wait_for_readers: bool) -> None:
    """Return when every event is done. On the engine's loop.

    :param wait_for_readers: also for streams that nobody reads at the moment
    """
    while True:
        await engine.walks.until_quiet(wait_for_readers=wait_for_readers)
        if _arrives(engine):
            await asyncio.sleep(0 if engine.backlog() else POLL_SECONDS)
        elif not _let_one_go(engine):
            if engine.is_idle:
                return
            await asyncio.sleep(POLL_SECONDS)


async def finish_accepted(engine: Engine) -> None:
    """Return when the events are done whose callers have their answers already, or a reader of a stream is missing."""
    while (engine.accepted or engine.backlog()) and not engine.has_open_streams:
        if not engine.backlog() and engine.walks.is_quiet(wait_for_readers=False):
            _let_one_go(engine)
        await asyncio.sleep(POLL_SECONDS)


def relieve(engine: Engine) -> None:
    """Let a batch go before its time: the engine is full, and all it does is to hold events."""
    any(hold.flush() for hold in engine.holds if hold.count and not hold.step.joins)


def let_go(engine: Engine) -> None:
    """Let everything go that batches and joins hold: the messages that they wait for will not come."""
    for hold in engine.holds:
        if hold.count:
            hold.flush()


def _arrives(engine: Engine) -> bool:
    """Whether events are about to come in: unread messages, and events let in that the loop has not seen."""
    if engine.gate.inside > engine.gate.limit - 1:
        return False  # there is no room; what the graph holds has to go first
    return engine.backlog() > 0 or engine.gate.inside > engine.alive


def _let_one_go(engine: Engine) -> bool:
    """Flush the first batch, or else the first join: one that is flushed too early lacks what comes from the others."""
    full = [hold for hold in engine.holds if hold.count]
    return any(hold.flush() for hold in sorted(full, key=lambda hold: hold.step.joins))
