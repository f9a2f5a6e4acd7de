"""Whether the names in a graph resolve and its classes take what the graph gives them, without making an object."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from ...errors import MillraceError
from ...steps.base import HoldingStep, LibraryStep, is_async
from ..graph.catching import Places, catcher_places
from ..graph.flow import FlowStep
from ..graph.router import RouterStep
from ..graph.step import Step, TaskStep
from .call import (
    Call,
    Workshop,
    build_call,
    check_is_router,
    check_plain,
    constructor_arguments,
    method_of,
    with_default_class,
)


def call_problems(root: Step, shop: Workshop) -> Iterator[MillraceError]:
    """What is wrong with single steps of a graph, one after the other; see :func:`check_call`."""
    for path, step, function in tasks(root, catcher_places(root)):
        try:
            check_call(step, path, shop.of(function))
        except MillraceError as fault:
            yield fault


def tasks(
    step: Step, places: Places, path: str = "", function: str | None = None
) -> Iterator[tuple[str, TaskStep, str | None]]:
    """All tasks and routers of a graph, with their paths and the child functions that run them.

    :param places: of catchers that name no function
    """
    function = step.function or places.get(step.full_name) or function
    if isinstance(step, TaskStep):
        path = path or step.name or "router"
        yield path, step, function
    parts = step.steps if isinstance(step, FlowStep) else step.routes if isinstance(step, RouterStep) else {}
    for name, part in parts.items():
        yield from tasks(part, places, f"{path}/{name}" if path else name, function)


def check_call(step: TaskStep, path: str, shop: Workshop) -> None:
    """Check what a task or router will call as far as that can be known before its object is made.

    :raises NameNotFound: nothing has the name of its class or function
    :raises BadStepArguments: its class has no parameter that the graph gives, or needs another one
    :raises GraphError: it has no such method, or the sync engine does not run it
    """
    step = with_default_class(step)
    found = step.class_name
    if isinstance(found, str):
        found = shop.namespace.find(found, step=path)
    if found is None or inspect.isroutine(found):
        build_call(step, path, shop)  # a function: nothing is made
        return
    check_is_router(step, found, path)
    if isinstance(found, type):
        constructor_arguments(step, found, path, shop, {"routes": {}} if isinstance(step, RouterStep) else {})
    call = _foreseen(step, found, path)
    if shop.plain_only:
        check_plain(call, path)


def _foreseen(step: TaskStep, found: Any, path: str) -> Call:
    """The call that the object will be, as far as its class shows."""
    kind = found if isinstance(found, type) else type(found)
    if issubclass(kind, HoldingStep):
        return Call(found, "hold")
    if issubclass(kind, LibraryStep) and step.handler is None:
        return Call(found, kind.operation)
    fn, takes_event = method_of(step, found, path)
    return Call(fn, "map", takes_event, is_async=is_async(fn))
