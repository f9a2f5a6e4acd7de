"""The flow node: the root of a graph, and a graph within a graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from ...errors import DuplicateStep, GraphError, UnknownStep, near
from .notation import make_step
from .options import StepOptions
from .router import RouterStep
from .step import VIEWS, Step, check_at_least_one, warn_inert

if TYPE_CHECKING:
    import graphviz

Engine = Literal["sync", "async"]
PREVIOUS = "$prev"


@dataclass(kw_only=True, eq=False, repr=False)
class FlowStep(Step):
    """A flow of steps. The root of a graph is one; others nest inside it.

    :param engine: ``async`` (any graph) or ``sync`` (a plain chain, called in the caller's thread); only on the root
    :param max_in_flight: how many events the function takes at a time; only on the root
    :param allow_cyclic: accepted for compatibility: cycles are allowed where ``cycle_to`` declares them

    >>> graph = FlowStep()
    >>> graph.to(name="double", handler="(event * 2)").respond().full_name
    'double'
    """

    kind: ClassVar[str] = "flow"

    engine: Engine | None = None
    steps: dict[str, Step] = field(default_factory=dict)
    allow_cyclic: bool | None = None
    max_in_flight: int | None = None
    previous: str | None = None
    pending_cycles: list[tuple[str, str]] = field(default_factory=list)
    pending_rejoins: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.engine is not None and self.engine not in get_args(Engine):
            raise GraphError(f"engine={self.engine!r} is neither 'async' nor 'sync'")
        check_at_least_one("max_iterations", self.max_iterations)
        check_at_least_one("max_in_flight", self.max_in_flight)

    def _summary(self) -> str:
        return f"steps={list(self.steps)}"

    @property
    def is_root(self) -> bool:
        """Whether the flow is the graph itself."""
        return self.parent is None

    @property
    def full_name(self) -> str:
        """The names from the root to this flow, joined by ``/``; empty for the root."""
        return super().full_name if self.parent is not None else ""

    @property
    def title(self) -> str:
        """How errors name this flow."""
        return f"graph '{self.full_name or self.name or 'flow'}'"

    # -- building ------------------------------------------------------------------------------------------------

    def _place_after(self) -> tuple[FlowStep, str]:
        """``to`` on the root, or on a flow that is empty yet, adds a start step; a filled one gets a step after it."""
        return (self, "") if self.is_root or not self.steps else (self._flow(), self.name)

    def _catching_flow(self) -> FlowStep:
        """``error_handler`` on a flow is for all steps in it."""
        return self

    def add_step(
        self,
        class_name: Any = None,
        name: str | None = None,
        handler: Any = None,
        after: str | Step | Sequence[str | Step] | None = None,
        before: str | Step | Sequence[str | Step] | None = None,
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
    ) -> Any:
        """Add a step anywhere in the flow and return it.

        :param after: a step or name, a list of them, or ``"$prev"`` (the step added last); none makes a start step
        :param before: the steps that shall follow this one; it is put between them and what they followed

        The other arguments are those of :meth:`Step.to`.

        >>> graph = FlowStep()
        >>> _ = graph.to(name="first", handler="(event)").to(name="last", handler="(event)")
        >>> graph.add_step(name="between", handler="(event)", before="last").after, graph["last"].after
        (['first'], ['between'])
        """
        warn_inert(graph_shape=graph_shape, model_endpoint_creation_strategy=model_endpoint_creation_strategy)
        if options is not None and not isinstance(options, StepOptions):  # a queue's, or those of the step's class
            class_args["options"], options = options, None
        step = make_step(class_name, name, handler, class_args)
        _set(step, function=function, full_event=full_event, input_path=input_path, result_path=result_path,
             max_iterations=check_at_least_one("max_iterations", max_iterations), options=options)  # fmt: skip
        self.insert_step(step.name, step, after, before)
        if cycle_to:
            step.cycle_to(cycle_to)
        return step

    def insert_step(
        self,
        key: str,
        step: Step,
        after: str | Step | Sequence[str | Step] | None = None,
        before: str | Step | Sequence[str | Step] | None = None,
    ) -> Step:
        """Put a finished step into the flow."""
        if not isinstance(key, str) or not key or "/" in key:
            raise GraphError(f"{self.title}: a step's name is a text without '/', not {key!r}")
        if key in self.steps:
            raise DuplicateStep(key, graph=self.title)
        sources = self._named(after, role=f"after= of step '{key}'") or step.after
        followers = self._named(before, role=f"before= of step '{key}'")
        for name in followers:
            if name in sources:
                raise GraphError(f"{self.title}: step '{key}' can not come both before and after '{name}'")
        step.name, step.parent, step.after = key, self, sources
        self._put_before(step, followers)
        self.steps[key] = step
        self.previous = key
        for source, target in [pair for pair in self.pending_cycles if pair[1] == key]:
            self.pending_cycles.remove((source, target))
            self.steps[source].cycle_to(target)
        for catcher, target in [pair for pair in self.pending_rejoins if pair[1] == key]:
            self.pending_rejoins.remove((catcher, target))
            self._rejoin(catcher, [target])
        return step

    def _named(self, steps: str | Step | Sequence[str | Step] | None, *, role: str) -> list[str]:
        """The names of steps of this flow; ``"$prev"`` in an empty flow names none."""
        found = []
        for step in _listed(steps):
            name = step if isinstance(step, str) else step.name
            if name == PREVIOUS:
                found += [self.previous] if self.previous is not None else []
            elif name not in self.steps:
                raise UnknownStep(name, graph=self.title, role=role, known=self.steps)
            else:
                found.append(name)
        return list(dict.fromkeys(found))

    def _put_before(self, step: Step, followers: list[str]) -> None:
        """Let `followers` follow `step` instead of what `step` follows; it takes their sources if it has none."""
        rejoins = bool(followers) and not step.after and step.name in self.catchers
        if rejoins:
            self._rejoin(step.name, followers)
            return
        if followers and not step.after:
            step.after = list(dict.fromkeys(one for name in followers for one in self.steps[name].after))
        for name in followers:
            follower = self.steps[name]
            follower.after = [one for one in follower.after if one not in step.after] + [step.name]

    def _rejoin(self, catcher: str, followers: list[str]) -> None:
        """Let events that `catcher` caught go on at these steps; a start step stays one, so it gets a way back."""
        for name in followers:
            follower = self.steps[name]
            if follower.after or name in self.catchers:
                follower.after_step(catcher)
            elif catcher not in follower.cycle_from:
                follower.cycle_from.append(catcher)

    def add_catcher(
        self,
        name: str | None,
        class_name: Any,
        handler: Any,
        before: str | Step | Sequence[str | Step] | None,
        class_args: dict[str, Any],
        **settings: Any,
    ) -> str:
        """The name of the step that catches; makes the step when a class or handler says what it does.

        :param before: names of steps that may also be added later
        :param settings: fields of the step, such as ``full_event``
        """
        if class_name is None and handler is None:
            if not name or before or class_args or any(value is not None for value in settings.values()):
                raise GraphError(
                    f"{self.title}: error_handler() needs class_name= or handler= to make a catcher; with a name alone "
                    "it means a step that is added with graph.add_step(…, name=, after='', before=)"
                )
            return name
        step = make_step(class_name, name, handler, class_args)
        _set(step, **settings)
        later = [one for one in _listed(before) if isinstance(one, str) and one not in (PREVIOUS, *self.steps)]
        here = [one for one in _listed(before) if one not in later]
        followers = self._named(here, role=f"before= of catcher '{step.name}'")
        if step.name in self.steps and step.name in self.catchers and _is_same(self.steps[step.name], step):
            return step.name
        previous = self.previous
        self.insert_step(step.name, step)
        self._rejoin(step.name, followers)
        self.pending_rejoins += [(step.name, target) for target in later]
        self.previous = previous
        return step.name

    def add_flow(self, name: str, after: str | Step | Sequence[str | Step] | None = None, **settings: Any) -> FlowStep:
        """Add a nested flow and return it, to be filled.

        >>> graph = FlowStep()
        >>> inner = graph.add_flow("prepare")
        >>> inner.to(name="strip", handler="(event.strip())").full_name
        'prepare/strip'
        """
        flow: FlowStep = self.add_step(FlowStep(), name, None, after, **settings)
        return flow

    def set_flow(self, steps: list[Any], force: bool = False) -> Step:
        """Fill the flow with a chain of steps (objects, names or dicts of :meth:`Step.to` arguments).

        >>> graph = FlowStep()
        >>> _ = graph.set_flow([{"name": "double", "handler": "(event * 2)"}, "json.dumps"])
        >>> list(graph)
        ['double', 'dumps']
        """
        if self.steps and not force:
            raise GraphError(f"{self.title} already has steps; set_flow(…, force=True) replaces them")
        self.clear_children()
        last: Step = self
        for one in steps:
            last = last.to(**one) if isinstance(one, dict) else last.to(one)
        return last

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def catchers(self) -> set[str]:
        """The names of the steps that catch errors in this flow."""
        names = {step.on_error for step in self.steps.values() if step.on_error and not step.catches_inside}
        return names | {self.on_error} if self.on_error else names

    @property
    def catches_inside(self) -> bool:
        """Whether its catcher is one of its own steps, and none of the flow around it."""
        return self.on_error in self.steps

    def get(self, name: str) -> Step | None:
        """The step of this name, or ``None``."""
        return self.steps.get(name)

    def child(self, name: str) -> Step:
        """The step of this name."""
        if name not in self.steps:
            raise UnknownStep(name, graph=self.title, role="the path", known=self.steps)
        return self.steps[name]

    def clear_children(self, steps: list[str] | None = None) -> None:
        """Remove these steps, or all."""
        for name in list(self.steps) if steps is None else steps:
            del self[name]

    def routers(self) -> list[RouterStep]:
        """The routers of this flow and the flows in it."""
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
        around, _, last = name.rpartition("/")
        if around:
            inner: Any = self[around]
            del inner[last]
            return
        step = self[name]
        del self.steps[name]
        step.parent = None
        self.pending_cycles = [pair for pair in self.pending_cycles if pair[0] != name]
        self.pending_rejoins = [pair for pair in self.pending_rejoins if pair[0] != name]
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
        drawing: graphviz.Digraph = VIEWS["plot"](self, filename, format, **attributes)
        return drawing

    def to_mermaid(self) -> str:
        """The graph in the text language of Mermaid, which many editors and wikis draw.

        >>> graph = FlowStep()
        >>> _ = graph.to(name="double", handler="(event * 2)").respond()
        >>> graph.to_mermaid().splitlines()[0]
        'flowchart LR'
        """
        text: str = VIEWS["to_mermaid"](self)
        return text


def _set(step: Step, **settings: Any) -> None:
    """Set the fields for which something was said; a finished step keeps its own for the others."""
    for name, value in settings.items():
        if value is None:
            continue
        if name in ("function", "input_path", "result_path") and not isinstance(value, str):
            raise GraphError(f"step '{step.name}': {name}={value!r:.60} must be a text")
        setattr(step, name, value)


def _is_same(one: Step, other: Step) -> bool:
    """Whether two catchers do the same, so that several steps may ask for it in the same words."""
    ours, theirs = ({**vars(step), "parent": None, "after": None} for step in (one, other))
    return type(one) is type(other) and all(ours[name] is theirs[name] or ours[name] == theirs[name] for name in ours)


def _listed(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
