"""What a task step calls: found by name, built with its arguments, and the kind of operation it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from ...errors import BadStepArguments, GraphError, MillraceError, near
from ...steps.base import HoldingStep, LibraryStep, is_async
from ...steps.expressions import compile_expression, is_expression
from ..graph.options import OPTION_NAMES, StepOptions
from ..graph.router import RouterStep
from ..graph.step import TaskStep
from .context import GraphContext
from .names import Namespace
from .parameters import asked_for, check_arguments, check_takes_one, parameters_of, split_options, takes_any

DEFAULT_ROUTER = "millrace.serving.ModelRouter"
Kind = Literal["map", "filter", "flat_map", "hold", "stream"]
STEP_PARAMETERS = ("class_name", "handler", "after", "before", "function", "full_event", "input_path", "result_path",
                   "cycle_to", "max_iterations")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """A step ready to be called.

    :param fn: the function; takes the body, or the event where `takes_event`
    :param kind: what its result means
    :param target: the object whose method it is
    :param remake: makes `fn` anew in another process
    :param into: how its result goes into the whole body, where it is a function of a part
    """

    fn: Callable[..., Any]
    kind: Kind = "map"
    takes_event: bool = False
    is_async: bool = False
    target: Any = None
    options: StepOptions = field(default_factory=StepOptions)
    remake: Callable[[], Callable[..., Any]] | None = None
    into: Callable[[Any, Any], Any] | None = None

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


def with_default_class(step: TaskStep) -> TaskStep:
    """The step, with the class that a router has when it names none."""
    if isinstance(step, RouterStep) and step.class_name is None and step.handler is None:
        return replace(step, class_name=DEFAULT_ROUTER)
    return step


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
    check_is_router(step, class_name, path)
    if class_name is None:
        call = _of_function(step, _function(handler, path, shop), path, shop)
    elif isinstance(class_name, type):
        call = _of_class(step, class_name, path, shop, extra)
    else:
        call = _of_given_object(step, class_name, path, shop, extra)
    if step.full_event is not None and call.kind != "hold":
        call = replace(call, takes_event=step.full_event)
    call = replace(call, is_async=is_async(call.fn), kind=_streaming(call))
    if call.kind != "hold" and not isinstance(call.remake, _Remake):
        check_takes_one(call.fn, path, what="the event" if call.takes_event else "the body")
    if shop.plain_only:
        check_plain(call, path)
    return call


def check_plain(call: Call, path: str) -> None:
    """The sync engine runs plain chains in the caller's thread. A router may ask its routes in threads all the same."""
    is_router = getattr(call.target, "step_kind", "") == "router"
    what = "is async" if call.is_async and not is_router else _NOT_PLAIN.get(call.kind)
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
    arguments, options = constructor_arguments(step, cls, path, shop, extra)

    def make(context: GraphContext = shop.context) -> Any:
        return make_object(cls, arguments | ({"context": context} if "context" in arguments else {}), path)

    if options.execution == "process" and not issubclass(cls, (LibraryStep, HoldingStep)):
        probe = method_of(step, cls, path)
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
        return method_of(step, target, self.path)[0]


def check_is_router(step: TaskStep, found: Any, path: str) -> None:
    """A router must be a router in the graph too, where it has routes."""
    if getattr(found, "step_kind", step.kind) != step.kind:
        name = step.class_name if isinstance(step.class_name, str) else getattr(found, "__name__", type(found).__name__)
        raise GraphError(f"step '{path}': {name} is a router; add it as '*{name}', and its routes with add_route()")


def _of_given_object(step: TaskStep, target: Any, path: str, shop: Workshop, extra: dict[str, Any]) -> Call:
    """An object that the user made: it gets what its constructor would have got, and keeps its state.

    The events that a batch or join holds are no part of that: they are of one server.
    """
    arguments, options = split_options(step, known=())
    for name in arguments:
        raise BadStepArguments(f"step '{path}': the {type(target).__name__} is made already, it takes no '{name}'")
    if isinstance(target, HoldingStep):
        target = target.for_server()
    own = getattr(target, "context", None)
    if hasattr(target, "context") and (own is None or isinstance(own, GraphContext)):
        target.context = shop.context
    if hasattr(target, "name") and target.name in (None, type(target).__name__):  # nobody gave it one
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
        if not hasattr(target, "fn"):
            kind = type(target).__name__
            raise BadStepArguments(f"step '{path}': {kind}.__init__ must call super().__init__()")
        fn, into = target.fn, None
        if target.of_part is not None and step.input_path and not step.result_path and not step.full_event:
            fn, into = target.of_part
        return Call(fn, target.operation, target=target, options=options, into=into)
    fn, takes_event = method_of(step, target, path)
    return Call(fn, "map", takes_event, target=target, options=options, remake=lambda: fn)


def _not_called(body: Any) -> Any:
    raise NotImplementedError("a holding step is not called")


def constructor_arguments(
    step: TaskStep, cls: type, path: str, shop: Workshop, extra: dict[str, Any]
) -> tuple[dict[str, Any], StepOptions]:
    """All arguments for a step's class, checked, and the engine's options written among them.

    :param extra: further constructor arguments (a router's ``routes``)
    :raises BadStepArguments: the class does not take one of them, or needs one more
    """
    parameters = parameters_of(cls)
    given, options = split_options(step, known=parameters)
    arguments = {}
    for name, value in given.items():
        # A name with a leading underscore says that its value names a function or is an expression.
        if name.startswith("_") and name not in parameters:
            arguments[name[1:]] = _function(value, path, shop)
        else:
            arguments[name] = value
    arguments |= asked_for(step, parameters, shop.context) | extra
    check_arguments(cls, arguments, parameters, path, written=step.class_args)
    return arguments, options


def method_of(step: TaskStep, target: Any, path: str) -> tuple[Callable[..., Any], bool]:
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
        takes_mode = "mode" in parameters or takes_any(parameters)
        post_init(**({"mode": mode} if takes_mode else {}))
    except MillraceError:
        raise
    except Exception as error:
        raise BadStepArguments(f"step '{path}': post_init failed: {type(error).__name__}: {error}") from error
