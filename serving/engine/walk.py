"""The walk: one event carried from unit to unit. The only loop of the engine; plain graphs are driven through it too."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import TooManyIterations
from ...steps.base import DROPPED
from .copying import copy_body
from .event import Event
from .unit import TAKEN, Unit, failed

if TYPE_CHECKING:
    from .engine import Engine

Branch = tuple[Unit, Event, Any]


def drive(walk: Coroutine[Any, Any, None]) -> None:
    """Run to its end a walk that waits for nothing, in this thread and without a loop."""
    try:
        while True:
            walk.send(None)
    except StopIteration:
        return


@types.coroutine
def _give_way() -> Generator[None, None, None]:
    """Let the loop do other things, first of all send the answer; without a loop, nothing."""
    yield


async def walk(engine: Engine, unit: Unit, event: Event, body: Any) -> None:
    """Carry an event as far as it goes: to an end, into a step that keeps it, or to the caller with an error.

    Plain branches wait in a list until the first one has ended; branches with async steps become tasks.
    """
    completion = event._completion
    assert completion is not None  # noqa: S101 - every event that walks has one
    branches: list[Branch] = []
    try:
        while True:
            outlets: Sequence[Unit] = ()
            try:
                if unit.max_rounds:
                    count_round(unit, event, body)
                if unit.is_async:
                    body = await unit.run(engine, event, body)
                else:
                    body = unit.run(engine, event, body)
                if body is not DROPPED and body is not TAKEN:
                    outlets = unit.outlets if unit.select is None else chosen(unit, event, body)
                    if len(outlets) > 1:
                        fork(engine, unit, outlets[1:], event, body, branches)
            except Exception as error:
                catcher = engine.caught(event, error)
                if catcher is not None:
                    unit, body = catcher, event.body
                    continue
                body = DROPPED
            else:
                if unit.responds and body is not DROPPED and body is not TAKEN:
                    await respond(completion, event, body)
                    if outlets:
                        await _give_way()
            if outlets:
                unit = outlets[0]
                continue
            if body is not TAKEN:
                completion.release()
            if not branches:
                return
            unit, event, body = branches.pop(0)
    except BaseException as error:
        completion.fail(error if isinstance(error, Exception) else asyncio.CancelledError())
        for _ in range(1 + len(branches)):
            completion.release()
        raise


async def respond(completion: Any, event: Event, body: Any) -> None:
    """Give the caller its answer, or the next chunk of it."""
    stream = event._stream
    if stream is None:
        completion.answer(body)
        return
    if not stream.started:
        stream.started = True
        completion.answer(stream)
    await stream.send(body)


def chosen(unit: Unit, event: Event, body: Any) -> Sequence[Unit]:
    """The outlets that a step's ``select_outlets`` names."""
    choose: Callable[[Any], Sequence[Unit]] | None = unit.select
    try:
        return choose(body) if choose is not None else unit.outlets
    except Exception as error:
        failed(event, body, unit.info, error)


def fork(
    engine: Engine, unit: Unit, outlets: Sequence[Unit], event: Event, body: Any, branches: list[Branch]
) -> None:
    """Make a branch of the event for each further outlet, with a body of its own."""
    try:
        copies = [body if unit.share else copy_body(body) for _ in outlets]
    except Exception as error:
        error.add_note(f"a branch gets its own copy of the body; step '{unit.info.path}' may say share=True instead")
        failed(event, body, unit.info, error)
    completion = event._completion
    assert completion is not None  # noqa: S101 - every event that walks has one
    completion.hold(len(copies))
    for outlet, copy in zip(outlets, copies, strict=True):
        branch = event.fork(copy)
        if outlet.reaches_async:
            engine.spawn(outlet, branch, copy)
        else:
            branches.append((outlet, branch, copy))


def count_round(unit: Unit, event: Event, body: Any) -> None:
    """Count how often an event comes to a unit on a cycle."""
    rounds = event._rounds = event._rounds or {}
    count = rounds[unit.info.path] = rounds.get(unit.info.path, 0) + 1
    if count > unit.max_rounds:
        error = TooManyIterations(unit.info.path, event_id=event.id, limit=unit.max_rounds)
        failed(event, body, unit.info, error)
