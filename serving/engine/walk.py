"""The walk: one event carried from unit to unit. The engine's only loop; plain graphs are driven through it too."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import TYPE_CHECKING, Any

from ...deferred import asyncio
from ...errors import TooManyIterations, a_kind
from ...steps.base import DROPPED
from .completion import Completion
from .copying import copy_body
from .event import Event
from .stream import StreamClosed
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

    Where no branch waits for anything, they run one after the other; otherwise those after the first become tasks.
    """
    completion = event._completion
    assert completion is not None  # noqa: S101 - every event that walks has one
    branches: list[Branch] = [(unit, event, body)]
    try:
        while branches:
            await _carry(engine, completion, *branches.pop(0), branches)
    except BaseException as error:
        completion.fail(error if isinstance(error, Exception) else _ended_by(engine, error))
        for _ in range(1 + len(branches)):
            completion.release()
        raise


def _ended_by(engine: Engine, error: BaseException) -> Exception:
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return engine.refusal()  # the engine stops
    return RuntimeError(f"the event was ended by {error!r}")


async def _carry(
    engine: Engine, completion: Completion, unit: Unit, event: Event, body: Any, branches: list[Branch]
) -> None:
    while True:
        try:
            if unit.max_rounds:
                count_round(unit, event, body)
            body = unit.run(engine, event, body)
            if unit.is_async:
                body = await body
            outlets, onward = _ways_on(engine, unit, event, body, branches)
        except Exception as error:
            catcher = engine.caught(event, error)
            if catcher is None:
                break
            unit, body = catcher, event.body
            continue
        if unit.responds and not await _answered(completion, event, body, outlets):
            break
        if not outlets:
            break
        unit, body = outlets[0], onward
    if body is not TAKEN:
        completion.release()


async def _answered(completion: Completion, event: Event, body: Any, outlets: Sequence[Unit]) -> bool:
    """Give the answer of a responder, if it has one; whether the event is to go on."""
    if body is DROPPED or body is TAKEN:
        return True
    if not await respond(completion, event, body):
        return False
    if outlets:
        await _give_way()
    return True


def _ways_on(
    engine: Engine, unit: Unit, event: Event, body: Any, branches: list[Branch]
) -> tuple[Sequence[Unit], Any]:
    """Where an event goes from a unit, and the body that goes the first way; further ways become branches."""
    if body is DROPPED or body is TAKEN:
        return (), body
    outlets = unit.outlets if unit.select is None else chosen(unit, event, body)
    if len(outlets) + unit.responds > 1:
        return outlets, fork(engine, unit, outlets, event, body, branches)
    return outlets, body


async def respond(completion: Completion, event: Event, body: Any) -> bool:
    """Give the caller its answer, or the next chunk of it; whether it is to go on, not so when nobody reads it."""
    stream = event._stream
    if stream is None:
        completion.answer(body)
        return True
    if not stream.started:
        if stream.closed or not completion.awaited:
            stream.close()  # the caller has another answer
            return False
        completion.answer(stream)
        stream.started = True
    try:
        await stream.send(body)
    except StreamClosed:
        return False
    return True


def chosen(unit: Unit, event: Event, body: Any) -> Sequence[Unit]:
    """The outlets that a step's ``select_outlets`` names."""
    choose: Callable[[Any], Sequence[Unit]] | None = unit.select
    try:
        return choose(body) if choose is not None else unit.outlets
    except Exception as error:
        failed(event, body, unit.info, error)


def fork(
    engine: Engine, unit: Unit, outlets: Sequence[Unit], event: Event, body: Any, branches: list[Branch]
) -> Any:
    """Make a branch of the event for each outlet after the first, with a body of its own; the first one's body.

    The caller who gets an answer in the midst of a graph counts as a branch: what comes later does not change it.
    """
    try:
        bodies = isolated(unit, len(outlets) + unit.responds, body)[unit.responds :]
    except Exception as error:
        failed(event, body, unit.info, error)
    completion = event._completion
    assert completion is not None  # noqa: S101 - every event that walks has one
    completion.hold(len(outlets) - 1)
    for outlet, copy in zip(outlets[1:], bodies[1:], strict=True):
        branch = event.fork(copy)
        if outlet.reaches_async or outlets[0].reaches_async:  # or it would wait for what the first one waits for
            engine.spawn(outlet, branch, copy)
        else:
            branches.append((outlet, branch, copy))
    return bodies[0]


def isolated(unit: Unit, count: int, body: Any) -> list[Any]:
    """A body for each of so many branches behind a unit: the body itself, and copies unless they may share it."""
    if unit.share:
        return [body] * count
    try:
        return [body, *(copy_body(body) for _ in range(count - 1))]
    except Exception as error:
        raise TypeError(
            f"each branch gets its own copy of the body, and {a_kind(body)} can not be copied ({error}); "
            f"step '{unit.info.path}' may say share=True"
        ) from error


def count_round(unit: Unit, event: Event, body: Any) -> None:
    """Count how often an event comes to a unit on a cycle."""
    rounds = event._rounds = event._rounds or {}
    count = rounds[unit.info.path] = rounds.get(unit.info.path, 0) + 1
    if count > unit.max_rounds:
        error = TooManyIterations(unit.info.path, event_id=event.id, limit=unit.max_rounds)
        failed(event, body, unit.info, error)
