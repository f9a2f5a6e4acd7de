"""The parameters of a step's class: which there are, what the graph and the engine give for them, and what is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ...errors import BadStepArguments, near
from ..graph.options import OPTION_NAMES, StepOptions
from ..graph.step import TaskStep
from .context import GraphContext

INJECTED = ("context", "name", "input_path", "result_path", "full_event", "graph_step", "routes")
Parameters = Mapping[str, inspect.Parameter]


def split_options(step: TaskStep, *, known: Collection[str]) -> tuple[dict[str, Any], StepOptions]:
    """The arguments of the step's class, and the engine's options written among them.

    :param known: the parameters of the class, which gets what both have
    """
    mine = {name: value for name, value in step.class_args.items() if name in OPTION_NAMES and name not in known}
    arguments = {name: value for name, value in step.class_args.items() if name not in mine}
    return arguments, step.options.overlaid(mine)


def parameters_of(cls: type) -> dict[str, inspect.Parameter]:
    """The named parameters of a class, those of its bases included where it passes ``**kwargs`` on.

    >>> class Scale:
    ...     def __init__(self, by): ...
    >>> class Named(Scale):
    ...     def __init__(self, label="", **kwargs): ...
    >>> list(parameters_of(Named))
    ['by', 'label']
    """
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        if base is object:
            break
        try:
            parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        except (ValueError, TypeError):  # written in C, without a signature: it takes what it takes
            parameters = [inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)]
        found = {p.name: p for p in parameters} | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            found = {name: p for name, p in found.items() if p.kind is not p.VAR_KEYWORD}
            break
    return found


def takes_any(parameters: Parameters) -> bool:
    """Whether there are ``**kwargs`` that nobody names."""
    return any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def asked_for(step: TaskStep, parameters: Parameters, context: GraphContext) -> dict[str, Any]:
    """What the engine gives to constructors that have parameters for it."""
    values = {
        "context": context, "name": step.name, "input_path": step.input_path, "result_path": step.result_path,
        "full_event": step.full_event, "graph_step": step,
    }  # fmt: skip
    everything = takes_any(parameters)
    return {
        name: value
        for name, value in values.items()
        if (name in parameters or (everything and name in ("context", "name"))) and name not in step.class_args
    }


def check_arguments(
    cls: type, arguments: Collection[str], parameters: Parameters, path: str, *, written: Collection[str]
) -> None:
    """Refuse arguments that the class does not take, and the lack of those that it needs.

    :param written: the names as they stand in the graph, where one with ``_`` before it holds an expression
    :raises BadStepArguments: there is such an argument
    """
    for name in () if takes_any(parameters) else arguments:
        if name not in parameters:
            raise _unknown(cls, name, parameters, path, mark="_" if f"_{name}" in written else "")
    missing = [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and name not in arguments
    ]
    if missing:
        raise BadStepArguments(f"step '{path}': {cls.__name__} needs {', '.join(f'{name}=' for name in missing)}")


def _unknown(cls: type, name: str, parameters: Parameters, path: str, *, mark: str) -> BadStepArguments:
    names = [one for one in parameters if one not in INJECTED]
    known = f"; it has {', '.join(names)}" if names else "; it takes none"
    import difflib  # noqa: PLC0415 - for start-up: only when a name is wrong

    close = difflib.get_close_matches(name, names)
    hint = near(f"{mark}{name}", [f"{mark}{one}" for one in close]) if close else known
    return BadStepArguments(f"step '{path}': {cls.__name__} has no parameter '{mark}{name}'{hint}")


def check_takes_one(fn: Callable[..., Any], path: str, *, what: str) -> None:
    """A step's function is called with one argument.

    :param what: what that is
    :raises BadStepArguments: it can not be called so
    """
    try:
        signature = inspect.signature(fn)
    except (ValueError, TypeError):  # written in C, without one
        return
    try:
        signature.bind(None)
    except TypeError as error:
        name = getattr(fn, "__name__", type(fn).__name__)
        raise BadStepArguments(
            f"step '{path}': {name}{signature} is called with one argument, {what}: {error}; "
            "give the others a default, by functools.partial, or in the constructor of a class"
        ) from error
