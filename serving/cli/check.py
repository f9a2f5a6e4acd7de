"""Whether the names in a graph resolve and its classes take what the graph gives them, without making an object."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...errors import MillraceError
from ...steps.base import HoldingStep, LibraryStep
from ..engine.call import (
    Workshop,
    _asked_for,
    _check_arguments,
    _method,
    _parameters,
    _resolved,
    build_call,
    split_options,
)
from ..engine.context import GraphContext
from ..functions.runtime import _children, _namespace
from ..graph.flow import FlowStep
from ..graph.router import RouterStep
from ..graph.step import Step, TaskStep

if TYPE_CHECKING:
    from ..engine.names import Source
    from ..functions.function import ServingFunction


def step_problems(function: ServingFunction, sources: list[Source]) -> Iterator[MillraceError]:
    """What is wrong with single steps: a name that nothing has, a parameter that the class has not."""
    context = GraphContext(name=function.name)
    root = function.graph
    is_sync = isinstance(root, FlowStep) and root.engine == "sync"
    namespace, children = _namespace(function, sources), _children(function, sources)
    shop = Workshop(namespace, context, children=children, plain_only=is_sync)
    for path, step, runs_in in tasks(root):
        try:
            _check(step, path, shop.of(runs_in))
        except MillraceError as fault:
            yield fault


def tasks(step: Step, path: str = "", function: str | None = None) -> Iterator[tuple[str, TaskStep, str | None]]:
    """All tasks and routers of a graph, with their paths and the child functions that run them."""
    function = step.function or function
    if isinstance(step, TaskStep):
        path = path or step.name or "router"
        yield path, step, function
    parts = step.steps if isinstance(step, FlowStep) else step.routes if isinstance(step, RouterStep) else {}
    for name, part in parts.items():
        yield from tasks(part, f"{path}/{name}" if path else name, function)


def _check(step: TaskStep, path: str, shop: Workshop) -> None:
    found = step.class_name
    if found is None and step.handler is None and isinstance(step, RouterStep):
        found = "millrace.serving.ModelRouter"
    if isinstance(found, str):
        found = shop.namespace.find(found, step=path)
    if found is None or inspect.isroutine(found):
        build_call(step, path, shop)
        return
    if isinstance(found, type):
        parameters = _parameters(found)
        arguments, _ = split_options(step, known=parameters)
        arguments = _resolved(arguments, parameters, path, shop) | _asked_for(step, parameters, shop)
        if isinstance(step, RouterStep):
            arguments["routes"] = {}
        _check_arguments(found, arguments, parameters, path)
    kind = found if isinstance(found, type) else type(found)
    if step.handler is not None or not issubclass(kind, (LibraryStep, HoldingStep)):
        _method(step, found, path)
