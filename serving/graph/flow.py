"""The flow node: the root of a graph, and a graph within a graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from ...errors import DuplicateStep, GraphError, UnknownStep, near
from .notation import make_step
from .options import StepOptions
from .step import Step, TaskStep, warn_inert

if TYPE_CHECKING:
    import graphviz

    from .router import RouterStep

Engine = Literal["sync", "async"]
PREVIOUS = "$prev"


@dataclass(kw_only=True, eq=False)
class FlowStep(Step):
    """A flow of steps. The root of a graph is one; others nest inside it.

    :param engine: ``async`` (any graph) or ``sync`` (a plain chain, called in the caller's thread); only on the root
    :param max_in_flight: how many events the function takes at a time; only on the root
    :param allow_cyclic: accepted for compatibility: cycles are allowed where ``cycle_to`` declares them

    >>> graph = FlowStep()
    >>> graph.to(name="double", handler="(event * 2)").respond().path
    'double'
    """

    kind: ClassVar[str] = "flow"

    engine: Engine | None = None
    steps: dict[str, Step] = field(default_factory=dict)
    allow_cyclic: bool | None = None
    max_in_flight: int | None = None
    previous: str | None = field(default=None, repr=False)
    pending_cycles: list[tuple[str, str]] = field(default_factory=list, repr=False)

    @property
    def is_root(self) -> bool:
        """Whether the flow is the graph itself."""
        return self.parent is None

    @property
    def title(self) -> str:
        """How errors name this flow."""
        return f"graph '{self.path or self.name or 'flow'}'"

    # -- building ------------------------------------------------------------------------------------------------

    def to(self, class_name: Any = None, name: str | None = None, handler: Any = None, *args: Any, **kw: Any) -> Step:
        """Add a start step to this flow and return it; a nested flow that has steps gets a step *after* it instead.

        The arguments are those of :meth:`Step.to`.
        """
        if not self.is_root and self.steps:
            return super().to(class_name, name, handler, *args, **kw)
        return self.add_step(class_name, name, handler, "", None, *args, **kw)

    def add_step(
        self,
        class_name: Any = None,
        name: str | None = None,
        handler: Any = None,
        after: str | Step | list[str | Step] | None = None,
        before: str | Step | list[str | Step] | None = None,
        graph_shape: str | None = None,
        function: str | None = None,
        full_event: bool | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        model_endpoint_creation_strategy: Any = None,
        cycle_to: str | list[str] | None = None,
        max_iterations: int | None = None,
        options: StepOptions | None = None,
        **class_args: Any,
    ) -> Any:
        """Add a step anywhere in the flow and return it.

        :param after: a step or name, a list of them, or ``"$prev"`` (the step added last); none makes a start step
        :param before: the steps that shall follow this one; it is put between them and what they followed

        The other arguments are those of :meth:`Step.to`.
        """
        warn_inert(graph_shape=graph_shape, model_endpoint_creation_strategy=model_endpoint_creation_strategy)
        step = make_step(class_name, name, handler, class_args)
        settings = (("function", function), ("full_event", full_event), ("input_path", input_path),
                    ("result_path", result_path), ("max_iterations", max_iterations), ("options", options))  # fmt: skip
        for key, value in settings:
            if value is not None:
                setattr(step, key, value)
        self.insert_step(step.name, step, after, before)
        if cycle_to:
            step.cycle_to(cycle_to)
        return step

    def insert_step(
        self,
        key: str,
        step: Step,
        after: str | Step | list[str | Step] | None = None,
        before: str | Step | list[str | Step] | None = None,
    ) -> Step:
        """Put a finished step into the flow."""
        if not isinstance(key, str) or not key or "/" in key:
            raise GraphError(f"{self.title}: a step's name is a text without '/', not {key!r}")
        if key in self.steps:
            raise DuplicateStep(key, graph=self.title)
        step.name, step.parent = key, self
        step.after = [self._named(name, role=f"after= of step '{key}'") for name in _listed(after)] or step.after
        if before:
            self._put_before(step, [self._named(name, role=f"before= of step '{key}'") for name in _listed(before)])
        self.steps[key] = step
        self.previous = key
        for source, target in [pair for pair in self.pending_cycles if pair[1] == key]:
            self.pending_cycles.remove((source, target))
            self.steps[source].cycle_to(target)
        return step

    def _named(self, step: str | Step, *, role: str) -> str:
        name = step if isinstance(step, str) else step.name
        if name == PREVIOUS:
            if self.previous is None:
                raise GraphError(f"{self.title}: after='$prev' needs a step before it")
            return self.previous
        if name not in self.steps:
            raise UnknownStep(name, graph=self.title, role=role, known=self.steps)
        return name

    def _put_before(self, step: Step, followers: list[str]) -> None:
        caught = step.name in self.catchers
        for name in followers:
            follower = self.steps[name]
            if name in step.after:
                raise GraphError(f"{self.title}: step '{step.name}' can not come both before and after '{name}'")
            if caught and not step.after:
                follower.after_step(step.name)
                continue
            if not step.after:
                step.after = list(follower.after)
            follower.after = [one for one in follower.after if one not in step.after] + [step.name]

    def add_catcher(
        self,
        name: str | None,
        class_name: Any,
        handler: Any,
        before: str | list[str] | None,
        function: str | None,
        full_event: bool | None,
        input_path: str | None,
        result_path: str | None,
        options: StepOptions | None,
        **class_args: Any,
    ) -> str:
        """The name of the step that catches; makes the step when a class or handler says what it does."""
        if class_name is None and handler is None:
            if not name or before or class_args:
                raise GraphError(f"{self.title}: error_handler() needs a name, or class_name= or handler=")
            return name
        step = make_step(class_name, name, handler, class_args)
        step.function, step.full_event = function, full_event
        step.input_path, step.result_path = input_path, result_path
        step.options = options or step.options
        if isinstance(step, TaskStep) and self.get(step.name) is not None and step.name in self.catchers:
            return step.name
        self.insert_step(step.name, step)
        for follower in _listed(before):
            self.steps[self._named(follower, role=f"before= of catcher '{step.name}'")].after_step(step.name)
        self.previous = None if self.previous == step.name else self.previous
        return step.name

    def error_handler(
        self,
        name: str | None = None,
        class_name: Any = None,
        handler: Any = None,
        before: str | list[str] | None = None,
        function: str | None = None,
        full_event: bool | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        options: StepOptions | None = None,
        **class_args: Any,
    ) -> Self:
        """Send events that fail in any step without a catcher of its own to this one; see :meth:`Step.error_handler`."""
        self.on_error = self.add_catcher(
            name, class_name, handler, before, function, full_event, input_path, result_path, options, **class_args
        )
        return self

    def add_flow(self, name: str, after: str | Step | list[str | Step] | None = None, **settings: Any) -> FlowStep:
        """Add a nested flow and return it, to be filled.

        >>> graph = FlowStep()
        >>> inner = graph.add_flow("prepare")
        >>> inner.to(name="strip", handler="(event.strip())").path
        'prepare/strip'
        """
        flow: FlowStep = self.add_step(FlowStep(), name, None, after, **settings)
        return flow

    def set_flow(self, steps: list[Any], force: bool = False) -> Step:
        """Fill the flow with a chain of steps (objects, names or dicts of :meth:`Step.to` arguments)."""
        if self.steps and not force:
            raise GraphError(f"{self.title} already has steps; set_flow(…, force=True) replaces them")
        self.steps.clear()
        last: Step = self
        for one in steps:
            last = last.to(**one) if isinstance(one, dict) else last.to(one)
        return last

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def catchers(self) -> set[str]:
        """The names of the steps that catch errors in this flow."""
        names = {step.on_error for step in self.steps.values() if step.on_error}
        return names | {self.on_error} if self.on_error else names

    def get(self, name: str) -> Step | None:
        """The step of this name, or ``None``."""
        return self.steps.get(name)

    def path_to_step(self, path: str) -> Step:
        """The step at a path such as ``flow/router/route``."""
        step: Any = self
        for name in path.strip("/").split("/"):
            step = step[name]
        found: Step = step
        return found

    def clear_children(self, steps: list[str] | None = None) -> None:
        """Remove these steps, or all."""
        for name in list(self.steps) if steps is None else steps:
            del self[name]

    def routers(self) -> list[RouterStep]:
        """The routers of this flow and the flows in it."""
        from .router import RouterStep  # noqa: PLC0415

        found: list[RouterStep] = []
        for step in self.steps.values():
            if isinstance(step, RouterStep):
                found.append(step)
            elif isinstance(step, FlowStep):
                found.extend(step.routers())
        return found

    def __getitem__(self, name: str) -> Step:
        if "/" in name:
            return self.path_to_step(name)
        if name not in self.steps:
            raise KeyError(f"{self.title} has no step '{name}'{near(name, self.steps)}")
        return self.steps[name]

    def __delitem__(self, name: str) -> None:
        step = self[name]
        del self.steps[name]
        step.parent = None
        if self.previous == name:
            self.previous = next(reversed(self.steps), None)

    def __iter__(self) -> Iterator[str]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __bool__(self) -> bool:
        return True

    def __contains__(self, name: object) -> bool:
        return name in self.steps

    def plot(self, filename: str | None = None, format: str | None = None, **attributes: str) -> graphviz.Digraph:
        """Draw the graph; see :func:`millrace.serving.graph.draw.plot`."""
        from .draw import plot  # noqa: PLC0415

        return plot(self, filename, format, **attributes)

    def to_mermaid(self) -> str:
        """The graph in the text language of Mermaid, which many editors and wikis draw."""
        from .mermaid import to_mermaid  # noqa: PLC0415

        return to_mermaid(self)


def _listed(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
