"""From a call to what a unit runs: paths, full events and execution options wrapped around the function, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...steps.base import DROPPED
from ..graph.step import Step
from .call import Call
from .clock import Clock
from .event import Event
from .execution import Resources, executed
from .paths import read_path, write_path
from .unit import EVENT, FILTER, MAP, body_of

Fn = Callable[[Any], Any]


def operation(call: Call, step: Step, path: str, clock: Clock, resources: Resources) -> tuple[int, Fn, bool]:
    """The kind of the operation, its function, and whether it is async.

    The function takes the body. For ``EVENT`` it takes the event, and returns what a step may return for it.
    """
    fn, awaited = executed(call, path, clock, resources)
    if call.kind == "filter" and call.takes_event:
        return EVENT, _event_or_dropped(fn, awaited, step, path), awaited
    if call.takes_event:
        if step.input_path or step.result_path:
            fn = _event_at_paths(fn, awaited, step, path)
        return EVENT, fn, awaited
    if call.kind == "filter":
        return FILTER, _at_input_path(fn, step, path), awaited
    if step.input_path or step.result_path:
        fn = _body_at_paths(fn, awaited, step, path, call.into)
    return MAP, fn, awaited


def starting(call: Call, step: Step, path: str, fn: Fn) -> Callable[[Event, Any], Any]:
    """How a step that makes many bodies of one begins: a function of the event and its body."""
    read, _ = _ends(step, path)
    if not call.takes_event:
        return lambda _, body: fn(read(body))

    def start(event: Event, body: Any) -> Any:
        event.body = read(body)
        return fn(event)

    return start


def writing(step: Step, path: str) -> Callable[[Any, Any], Any] | None:
    """How such a step's results come into the body; ``None`` where they take its place."""
    return write_path(step.result_path, step=path) if step.result_path else None


def _event_or_dropped(fn: Fn, awaited: bool, step: Step, path: str) -> Fn:
    read, _ = _ends(step, path)
    if awaited:

        async def call_async(event: Any) -> Any:
            body = event.body
            event.body = read(body)
            is_kept = await fn(event)
            event.body = body
            return event if is_kept else DROPPED

        return call_async

    def call(event: Any) -> Any:
        body = event.body
        event.body = read(body)
        is_kept = fn(event)
        event.body = body
        return event if is_kept else DROPPED

    return call


def _at_input_path(fn: Fn, step: Step, path: str) -> Fn:
    if not step.input_path:
        return fn
    read = read_path(step.input_path, step=path)
    return lambda body: fn(read(body))


def _ends(step: Step, path: str) -> tuple[Fn, Callable[[Any, Any], Any]]:
    read = read_path(step.input_path, step=path) if step.input_path else _same
    write = _unless_dropped(write_path(step.result_path, step=path)) if step.result_path else _replace
    return read, write


def _unless_dropped(write: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda body, result: DROPPED if result is DROPPED else write(body, result)


def _same(body: Any) -> Any:
    return body


def _replace(_: Any, result: Any) -> Any:
    return result


def _body_at_paths(fn: Fn, awaited: bool, step: Step, path: str, into: Callable[[Any, Any], Any] | None) -> Fn:
    read, write = _ends(step, path)
    write = into or write
    if awaited:

        async def call_async(body: Any) -> Any:
            return write(body, await fn(read(body)))

        return call_async
    return lambda body: write(body, fn(read(body)))


def _event_at_paths(fn: Fn, awaited: bool, step: Step, path: str) -> Fn:
    read, write = _ends(step, path)
    if awaited:

        async def call_async(event: Any) -> Any:
            body = event.body
            event.body = read(body)
            event.body = write(body, body_of(event, await fn(event), path))
            return event

        return call_async

    def call(event: Any) -> Any:
        body = event.body
        event.body = read(body)
        event.body = write(body, body_of(event, fn(event), path))
        return event

    return call
