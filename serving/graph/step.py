"""The nodes of a graph as plain data. Nothing here runs an event.

Every node is a :class:`Step`. Which steps follow which is said by ``after`` (a list of names), errors by ``on_error``
(the name of the catcher) and the edges of declared cycles by ``cycle_from``. The methods that build a graph (`to`,
`error_handler`, …) only write those fields.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ...errors import GraphError
from .options import StepOptions

if TYPE_CHECKING:
    from .flow import FlowStep

VIEWS: dict[str, Callable[..., Any]] = {}
"""What is made of a graph by modules that know all its nodes, such as drawings. The package puts them here, so that a
node has methods for them and knows none of them."""
PACKAGE = __name__.partition(".")[0]


def warn_inert(**given: Any) -> None:
    """Say once, at the line of the caller outside this package, that arguments known to MLRun do nothing here."""
    for name, value in given.items():
        if value is not None:
            warnings.warn(f"{name}= does nothing in Millrace", UserWarning, stacklevel=_outside())


def _outside() -> int:
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        level, frame = level + 1, frame.f_back
    return level


def check_at_least_one(name: str, value: Any) -> Any:
    """A number of rounds or events, which is 1 or more, or ``None``."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise GraphError(f"{name}={value!r} must be a whole number of 1 or more")
    return value


@dataclass(kw_only=True, eq=False, repr=False)
class Step:
    """What every node has.

    :param name: unique within its flow; without ``/``
    :param after: names of the steps before this one; none makes it a start step (or a catcher, if one names it)
    :param function: the child function that runs the step; ``None``: where the flow around it runs
    :param on_error: name of the step that gets the events which fail here
    :param responder: the step's result is the answer to the caller
    :param cycle_from: names of later steps that may send events back to this one
    """

    kind: ClassVar[str] = "step"

    name: str = ""
    after: list[str] = field(default_factory=list)
    function: str | None = None
    on_error: str | None = None
    responder: bool = False
    full_event: bool | None = None
    input_path: str | None = None
    result_path: str | None = None
    max_iterations: int | None = None
    cycle_from: list[str] = field(default_factory=list)
    options: StepOptions = field(default_factory=StepOptions)
    parent: FlowStep | None = None

    def __repr__(self) -> str:
        """One short line, for notebooks; ``to_dict`` and ``plot`` show everything."""
        names = ", ".join(part for part in (repr(self.name) if self.name else "", self._summary()) if part)
        return f"{type(self).__name__}({names})"

    def _summary(self) -> str:
        """What this step is, behind its name."""
        return ""

    @property
    def full_name(self) -> str:
        """The names from the root to this step, joined by ``/``; the root's own name is left out."""
        names, flow = [self.name], self.parent
        while flow is not None and flow.parent is not None:
            names.append(flow.name)
            flow = flow.parent
        return "/".join(reversed(names))

    @property
    def runs_in(self) -> str | None:
        """The child function that runs this step: its own, else that of the flow around it; ``None`` for the parent."""
        step: Step | None = self
        while step is not None:
            if step.function:
                return step.function
            step = step.parent
        return None

    @property
    def catches_inside(self) -> bool:
        """Whether the catcher that `on_error` names is a step inside this one."""
        return False

    def child(self, name: str) -> Step:
        """The step or route of this name inside this one."""
        raise GraphError(f"step '{self.full_name}' is a {self.kind} and has no '{name}' in it")

    def path_to_step(self, path: str) -> Step:
        """The step at a path such as ``flow/router/route``, seen from this one."""
        step = self
        for name in path.strip("/").split("/") if path.strip("/") else []:
            step = step.child(name)
        return step

    def _flow(self) -> FlowStep:
        if self.parent is None:
            raise GraphError(f"step '{self.name}' is in no flow yet: add it with graph.to(step) or add_step(step)")
        return self.parent

    def to(
        self,
        class_name: Any = None,
        name: str | None = None,
        handler: Any = None,
        graph_shape: str | None = None,
        function: str | None = None,
        full_event: bool | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        model_endpoint_creation_strategy: Any = None,
        cycle_to: str | Sequence[str] | None = None,
        max_iterations: int | None = None,
        options: StepOptions | None = None,
        **class_args: Any,
    ) -> Step:
        """Add a step after this one and return the new step.

        :param class_name: a class, an initialised object, or a name: ``"Echo"``, ``"storey.Filter"``, ``"*Router"``
            (a router), ``">>"`` or ``"$queue"`` (a queue); a function is taken as `handler`
        :param handler: a function, its name, an expression ``"(event + 1)"``, or the method of the class to call
        :param class_args: arguments of the class; a name with a leading ``_`` takes a function or expression

        >>> from millrace.serving.graph import FlowStep
        >>> graph = FlowStep()
        >>> graph.to(name="a", handler="(event + 1)").to(name="b", handler="(event * 2)").after
        ['a']
        """
        flow, after = self._place_after()
        if "after" in class_args or "before" in class_args:
            class_args = _without_place(class_args, name or handler or class_name, after)
        step: Step = flow.add_step(
            class_name, name, handler, after, None, graph_shape, function, full_event, input_path, result_path,
            model_endpoint_creation_strategy, cycle_to, max_iterations, options, **class_args,
        )  # fmt: skip
        return step

    def _place_after(self) -> tuple[FlowStep, str]:
        """The flow that :meth:`to` adds to, and the step that the new one comes after; none: it is a start step."""
        return self._flow(), self.name

    def _catching_flow(self) -> FlowStep:
        """The flow that this step's catcher is in."""
        return self._flow()

    def error_handler(
        self,
        name: str | None = None,
        class_name: Any = None,
        handler: Any = None,
        before: str | Step | Sequence[str | Step] | None = None,
        function: str | None = None,
        full_event: bool | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        options: StepOptions | None = None,
        **class_args: Any,
    ) -> Self:
        """Send events that fail in this step to a catcher, and return this step.

        With only a name, the catcher is a step added elsewhere with ``after=""``. With a class or handler the catcher
        is made here. Without `before` its result is the answer; with it, the event goes on at that step, which may also
        be added later.

        >>> import millrace
        >>> function = millrace.new_function("ratio")
        >>> step = function.set_topology("flow").to(name="ratio", handler="(1 / event)").respond()
        >>> _ = step.error_handler(name="none", handler="('no ratio')")
        >>> server = function.to_mock_server()
        >>> server.test(body=4), server.test(body=0)
        (0.25, 'no ratio')
        """
        self.on_error = self._catching_flow().add_catcher(
            name, class_name, handler, before, class_args, function=function, full_event=full_event,
            input_path=input_path, result_path=result_path, options=options,
        )  # fmt: skip
        return self

    def respond(self) -> Self:
        """Make this step's result the answer to the caller, and return this step.

        >>> from millrace.serving import FlowStep
        >>> FlowStep().to(name="answer", handler="(event)").respond().responder
        True
        """
        self.responder = True
        return self

    def cycle_to(self, *names: str | Step | Sequence[str | Step], max_iterations: int | None = None) -> Self:
        """Let events go from this step back to earlier ones, and return this step.

        A step that is named here may also be added later.

        :param max_iterations: how often one event may come to this step; default: the graph's, which is 100

        >>> import millrace
        >>> function = millrace.new_function("until-ten")
        >>> graph = function.set_topology("flow")
        >>> choice = graph.to(name="add", handler="(event + 3)").to(
        ...     "millrace.steps.Choice", name="enough", _fn="('end' if event > 9 else 'add')").cycle_to("add")
        >>> _ = choice.to(name="end", handler="(event)").respond()
        >>> function.to_mock_server().test(body=0)
        12
        """
        flow = self._flow()
        if max_iterations is not None:
            self.max_iterations = check_at_least_one("max_iterations", max_iterations)
        for given in names:
            for one in [given] if isinstance(given, (str, Step)) else given:
                target = one if isinstance(one, str) else one.name
                found = flow.get(target)
                if found is None:
                    flow.pending_cycles.append((self.name, target))
                elif self.name not in found.cycle_from:
                    found.cycle_from.append(self.name)
        return self

    def after_step(self, *after: str | Step, append: bool = True) -> Self:
        """Put this step after others, besides (or with ``append=False`` instead of) those it already follows."""
        if not append:
            self.after = []
        for step in after:
            name = step if isinstance(step, str) else step.name
            if name == self.name:
                raise GraphError(f"step '{name}' can not come after itself; use cycle_to('{name}')")
            if name not in self.after:
                self.after.append(name)
        return self


@dataclass(kw_only=True, eq=False, repr=False)
class TaskStep(Step):
    """A step that runs a class or a function.

    :param class_name: a name, a class, or an initialised object
    :param class_args: arguments of the class
    :param handler: a function, its name or an expression; with a class, the method to call

    >>> from millrace.serving import FlowStep
    >>> graph = FlowStep()
    >>> graph.to(TaskStep(name="double", handler="(event * 2)"))
    TaskStep('double', handler='(event * 2)')
    """

    kind: ClassVar[str] = "task"

    class_name: Any = None
    class_args: dict[str, Any] = field(default_factory=dict)
    handler: Any = None

    def _summary(self) -> str:
        called = {"class_name": self.class_name, "handler": self.handler}
        return ", ".join(f"{key}={_short(value)}" for key, value in called.items() if value is not None)


@dataclass(kw_only=True, eq=False, repr=False)
class QueueStep(Step):
    """A stream between two parts of the graph, or at its end.

    :param path: the stream's address (``log://…``, ``kafka://…``, a bare path); ``None``: the function's default
    :param shards: partitions to make when the stream does not exist
    :param retention_in_hours: how long messages stay
    :param trigger_args: settings of the trigger that reads it
    :param backend: further settings of the stream's backend, by name

    >>> from millrace.serving import FlowStep
    >>> graph = FlowStep()
    >>> graph.to(name="order", handler="(event)").to(">>", "orders", path="shop/orders", shards=2)
    QueueStep('orders', path='shop/orders')
    """

    kind: ClassVar[str] = "queue"

    path: str | None = None
    shards: int | None = None
    retention_in_hours: int | None = None
    trigger_args: dict[str, Any] = field(default_factory=dict)
    backend: dict[str, Any] = field(default_factory=dict)

    def _summary(self) -> str:
        return f"path={self.path!r}" if self.path else ""


def _without_place(class_args: dict[str, Any], step: Any, after: str) -> dict[str, Any]:
    """The arguments without an ``after=`` that says again what `to` means; any other place is for ``add_step``."""
    if "before" in class_args or class_args["after"] not in (after, [after]):
        said = "a start step" if not after else f"a step after '{after}'"
        raise GraphError(f"step {_short(step)}: to() adds {said}; after= and before= are for graph.add_step(…)")
    return {name: value for name, value in class_args.items() if name != "after"}


def _short(value: Any) -> str:
    """A class or function by its name, anything else by its type."""
    return repr(value) if isinstance(value, str) else str(getattr(value, "__name__", type(value).__name__))
