"""What a task step calls: found by name, built with its arguments, and the kind of operation it is."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from ...errors import BadStepArguments, GraphError, MillraceError, near
from ...steps.base import HoldingStep, LibraryStep, is_async
from ...steps.expressions import compile_expression, is_expression
from ..graph.options import OPTION_NAMES, StepOptions
from ..graph.step import TaskStep
from .context import GraphContext
from .names import Namespace

Kind = Literal["map", "filter", "flat_map", "hold", "stream"]
INJECTED = ("context", "name", "input_path", "result_path", "full_event", "graph_step")
STEP_PARAMETERS = ("class_name", "handler", "after", "before", "function", "full_event", "input_path", "result_path",
                   "cycle_to", "max_iterations")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """A step ready to be called.

    :param fn: the function; takes the body, or the event where `takes_event`
    :param kind: what its result means
    :param target: the object whose method it is
    :param remake: makes `fn` anew in another process
    """

    fn: Callable[..., Any]
    kind: Kind = "map"
    takes_event: bool = False
    is_async: bool = False
    target: Any = None
    options: StepOptions = field(default_factory=StepOptions)
    remake: Callable[[], Callable[..., Any]] | None = None

    @property
    def select(self) -> Callable[[Any], Any] | None:
        """The step's own choice of outlets."""
        found: Callable[[Any], Any] | None = getattr(self.target, "select_outlets", None)
        return found


@dataclass(frozen=True, slots=True)
class Workshop:
    """What is needed to build a step: where names are found, and the context that steps may ask for.

    :param mode: the engine; steps learn it by ``post_init(mode=)``
    :param children: where the names of a child function's steps are found
    :param plain_only: refuse what the sync engine does not run: coroutines, batches, joins, several events of one
    """

    namespace: Namespace
    context: GraphContext
    mode: Literal["sync", "async"] = "async"
    children: dict[str, Namespace] = field(default_factory=dict)
    plain_only: bool = False

    def of(self, function: str | None) -> Workshop:
        """The workshop for the steps of a function."""
        namespace = self.children.get(function or "")
        return self if namespace is None else replace(self, namespace=namespace)


def build_call(step: TaskStep, path: str, shop: Workshop, **extra: Any) -> Call:
    """Find, build and classify what a task step runs.

    :param extra: further constructor arguments (a router's ``routes``)
    """
    class_name, handler = step.class_name, step.handler
    if isinstance(class_name, str):
        found = shop.namespace.find(class_name, step=path)
        if not isinstance(found, type) and inspect.isroutine(found) and handler is None:
            class_name, handler = None, found
        else:
            class_name = found
    if class_name is None:
        call = _of_function(step, _function(handler, path, shop), path, shop)
    elif isinstance(class_name, type):
        call = _of_class(step, class_name, path, shop, extra)
    else:
        call = _of_given_object(step, class_name, path, shop, extra)
    if step.full_event is not None and call.kind != "hold":
        call = replace(call, takes_event=step.full_event)
    call = replace(call, is_async=is_async(call.fn), kind=_streaming(call))
    if shop.plain_only:
        _check_plain(call, path)
    return call


def _check_plain(call: Call, path: str) -> None:
    """The sync engine runs plain chains in the caller's thread."""
    what = "is async" if call.is_async else _NOT_PLAIN.get(call.kind)
    if what is not None:
        raise GraphError(f"step '{path}' {what}, which the sync engine does not run; use engine='async'")


_NOT_PLAIN = {"hold": "keeps events for later", "flat_map": "makes several events of one"}


def _streaming(call: Call) -> Kind:
    fn = call.fn.func if isinstance(call.fn, partial) else call.fn
    if call.kind == "map" and (inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)):
        return "stream"
    return call.kind


def _function(handler: Any, path: str, shop: Workshop) -> Callable[..., Any]:
    if isinstance(handler, str):
        if is_expression(handler):
            return compile_expression(handler, step=path)
        handler = shop.namespace.find(handler, step=path)
    if not callable(handler):
        raise GraphError(f"step '{path}': the handler must be a function, not {type(handler).__name__}")
    function: Callable[..., Any] = handler
    return function


def _of_function(step: TaskStep, fn: Callable[..., Any], path: str, shop: Workshop) -> Call:
    arguments, options = split_options(step, known=())
    for name in arguments:
        raise BadStepArguments(
            f"step '{path}' is a function and has no parameter '{name}' that the graph sets"
            f"{near(name, (*OPTION_NAMES, *STEP_PARAMETERS))}; for arguments use a class or functools.partial"
        )
    made = _with_context(fn, shop.context)
    return Call(made, options=options, remake=partial(_with_context, fn, None) if made is not fn else lambda: fn)


def _with_context(fn: Callable[..., Any], context: GraphContext | None) -> Callable[..., Any]:
    try:
        parameters = inspect.signature(fn).parameters
    except (ValueError, TypeError):
        return fn
    if "context" not in parameters:
        return fn
    if next(iter(parameters)) != "context":
        return partial(fn, context=context)
    positional = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    # handler(context, event), as Nuclio has it; a function of one parameter gets the body, whatever it calls it
    return partial(fn, context) if len(positional) > 1 and positional[1].default is inspect.Parameter.empty else fn


def _of_class(step: TaskStep, cls: type, path: str, shop: Workshop, extra: dict[str, Any]) -> Call:
    parameters = _parameters(cls)
    arguments, options = split_options(step, known=parameters)
    arguments = _resolved(arguments, parameters, path, shop)
    arguments |= _asked_for(step, parameters, shop) | extra
    _check_arguments(cls, arguments, parameters, path)

    def make(context: GraphContext = shop.context) -> Any:
        return make_object(cls, arguments | ({"context": context} if "context" in arguments else {}), path)

    if options.execution == "process" and not issubclass(cls, (LibraryStep, HoldingStep)):
        probe = _method(step, cls, path)
        return Call(probe[0], "map", probe[1], options=options, remake=_Remake(cls, arguments, step.handler, path))
    return _of_object(step, make(), path, shop, options)


@dataclass(frozen=True)
class _Remake:
    """Builds the step in another process."""

    cls: type
    arguments: dict[str, Any]
    handler: str | None
    path: str

    def __call__(self) -> Callable[..., Any]:
        target = make_object(self.cls, self.arguments, self.path)
        init(target, "process", self.path)
        step = TaskStep(name=self.path, handler=self.handler)
        return _method(step, target, self.path)[0]


def _of_given_object(step: TaskStep, target: Any, path: str, shop: Workshop, extra: dict[str, Any]) -> Call:
    """An object that the user made: it gets what its constructor would have got, and keeps its state."""
    arguments, options = split_options(step, known=())
    for name in arguments:
        raise BadStepArguments(f"step '{path}': the {type(target).__name__} is made already, it takes no '{name}'")
    own = getattr(target, "context", None)
    if hasattr(target, "context") and (own is None or isinstance(own, GraphContext)):
        target.context = shop.context
    if getattr(target, "name", step.name) is None:
        target.name = step.name
    for name, value in extra.items():
        setattr(target, name, value)
    return _of_object(step, target, path, shop, options)


def _of_object(step: TaskStep, target: Any, path: str, shop: Workshop, options: StepOptions) -> Call:
    init(target, shop.mode, path)
    if isinstance(target, LibraryStep) and target.execution is not None:
        options = options.overlaid({"execution": target.execution})
    if isinstance(target, HoldingStep):
        return Call(_not_called, "hold", target=target, options=options)
    if isinstance(target, LibraryStep) and step.handler is None:
        return Call(target.fn, target.operation, target=target, options=options)
    fn, takes_event = _method(step, target, path)
    return Call(fn, "map", takes_event, target=target, options=options, remake=lambda: fn)


def _not_called(body: Any) -> Any:
    raise NotImplementedError("a holding step is not called")


def _method(step: TaskStep, target: Any, path: str) -> tuple[Callable[..., Any], bool]:
    """The method that gets the events, and whether it gets the event or the body."""
    kind = target.__name__ if isinstance(target, type) else type(target).__name__
    if step.handler is not None:
        if not isinstance(step.handler, str):
            raise GraphError(f"step '{path}': with a class, handler= is the name of a method, not {step.handler!r}")
        method = getattr(target, step.handler, None)
        if not callable(method):
            known = [name for name in dir(target) if not name.startswith("_")]
            raise GraphError(f"step '{path}': {kind} has no method '{step.handler}'{near(step.handler, known)}")
        return method, False
    if callable(getattr(target, "do_event", None)):
        return target.do_event, True
    if callable(getattr(target, "do", None)):
        return target.do, False
    if callable(target) and not isinstance(target, type):
        return target, False
    raise GraphError(f"step '{path}': {kind} has no method do(body) or do_event(event), and no handler= names another")


def split_options(step: TaskStep, *, known: Any) -> tuple[dict[str, Any], StepOptions]:
    """The arguments of the step's class, and the engine's options written among them."""
    mine = {name: value for name, value in step.class_args.items() if name in OPTION_NAMES and name not in known}
    arguments = {name: value for name, value in step.class_args.items() if name not in mine}
    return arguments, step.options.overlaid(mine)


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The named parameters of a class, those of its bases included where it passes ``**kwargs`` on."""
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


def _takes_any(parameters: dict[str, inspect.Parameter]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _resolved(arguments: dict[str, Any], parameters: Any, path: str, shop: Workshop) -> dict[str, Any]:
    """Arguments with a leading underscore name a function or hold an expression."""
    resolved = {}
    for name, value in arguments.items():
        if name.startswith("_") and name not in parameters:
            resolved[name[1:]] = _function(value, path, shop)
        else:
            resolved[name] = value
    return resolved


def _asked_for(step: TaskStep, parameters: dict[str, inspect.Parameter], shop: Workshop) -> dict[str, Any]:
    values = {
        "context": shop.context, "name": step.name, "input_path": step.input_path, "result_path": step.result_path,
        "full_event": step.full_event, "graph_step": step,
    }  # fmt: skip
    everything = _takes_any(parameters)
    return {
        name: value
        for name, value in values.items()
        if (name in parameters or (everything and name in ("context", "name"))) and name not in step.class_args
    }


def _check_arguments(cls: type, arguments: dict[str, Any], parameters: Any, path: str) -> None:
    if not _takes_any(parameters):
        for name in arguments:
            if name not in parameters:
                names = [one for one in parameters if one not in INJECTED]
                hint = near(name, names) if difflib.get_close_matches(name, names) else ""
                raise BadStepArguments(
                    f"step '{path}': {cls.__name__} has no parameter '{name}'{hint or _listing(names)}"
                )
    missing = [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and name not in arguments
    ]
    if missing:
        raise BadStepArguments(f"step '{path}': {cls.__name__} needs {', '.join(f'{name}=' for name in missing)}")


def _listing(names: list[str]) -> str:
    return f"; it has {', '.join(names)}" if names else "; it takes none"


def make_object(cls: type, arguments: dict[str, Any], path: str) -> Any:
    """An instance of a step's class; what its constructor raises names the step."""
    try:
        return cls(**arguments)
    except MillraceError:
        raise
    except Exception as error:
        raise BadStepArguments(
            f"step '{path}': {cls.__name__} could not be made: {type(error).__name__}: {error}"
        ) from error


def init(target: Any, mode: str, path: str) -> None:
    """Call a step's ``post_init``, if it has one, with what it takes of ``mode=``."""
    post_init = getattr(target, "post_init", None)
    if not callable(post_init) or isinstance(target, type):
        return
    try:
        parameters = inspect.signature(post_init).parameters
        takes_mode = "mode" in parameters or _takes_any(dict(parameters))
        post_init(**({"mode": mode} if takes_mode else {}))
    except MillraceError:
        raise
    except Exception as error:
        raise BadStepArguments(f"step '{path}': post_init failed: {type(error).__name__}: {error}") from error
