"""From the graph as data to a plan: every step becomes a unit, plain neighbours become one segment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import GraphError
from ...steps.base import is_async
from ..graph.catching import Places, catcher_places
from ..graph.checks import start_steps, successors
from ..graph.flow import FlowStep
from ..graph.options import StepOptions
from ..graph.router import RouterStep
from ..graph.step import QueueStep, Step, TaskStep
from .call import Call, Workshop, build_call, with_default_class
from .execution import DEFAULT_IN_FLIGHT, Resources, Same, executed
from .fuse import finish, outlets_from
from .hold import HoldUnit, Inlet
from .link import EngineLink
from .operation import operation, starting, writing
from .parts import run_part
from .paths import read_path
from .plan import Plan
from .queue_unit import QueueUnit, Stream
from .route import AsyncRoute, Route
from .spread import FlatUnit, StreamUnit
from .threads import ThreadPool
from .unit import EVENT, AsyncUnit, Outlets, Segment, StepInfo, Unit

DEFAULT_MAX_ITERATIONS = 100


@dataclass(slots=True)
class Node:
    """A step's place among the units: where events come in and go out; one unit, but for nested flows."""

    step: Step
    entry: Unit
    exit: Unit
    select: Callable[[Any], Any] | None = None


@dataclass
class Compiler:
    """Compiles one graph for one function.

    :param open_stream: gives the stream of a queue step
    """

    shop: Workshop
    title: str
    open_stream: Callable[[QueueStep], Stream]
    current_function: str = "*"
    link: EngineLink = field(default_factory=EngineLink)
    resources: Resources = field(default_factory=Resources)
    objects: dict[str, Any] = field(default_factory=dict)
    entries: dict[str, tuple[QueueStep, Unit]] = field(default_factory=dict)
    catchers: list[Unit] = field(default_factory=list)
    places: Places = field(default_factory=dict)

    def compile(self, root: FlowStep | RouterStep) -> Plan:
        """The plan of a whole graph."""
        self.places = catcher_places(root)
        if isinstance(root, RouterStep):
            flow = FlowStep(name=root.name, engine="sync", steps={})
            # Its path says what it is; the name that it answers to is the function's, where it has none of its own.
            step = replace(root, name=root.name or self.shop.context.name, after=[], responder=True)
            step.parent = flow
            flow.steps[root.name or "router"] = step
            root = flow
        plan = self.part(root, "", default_responder=root.engine == "sync")
        plan.max_in_flight = root.max_in_flight
        return plan

    def part(self, flow: FlowStep, prefix: str, *, default_responder: bool, function: str | None = None) -> Plan:
        """The plan of a flow that has events of its own: the root, or a route.

        :param function: the child function that runs what names none itself
        """
        info = StepInfo(flow.name or "flow", prefix.rstrip("/") or flow.name or "flow", self.title)
        root, leaves = Segment(info), Segment(info)
        self.flow(flow, prefix, None, root, leaves, function)
        entries = [unit for _, unit in self.entries.values()]
        if not root.outlets:
            # A child function that starts behind its queues does so, too, with what comes from elsewhere.
            root.outlets = tuple(dict.fromkeys(one for unit in entries for one in unit.outlets))
        answers = finish(root, leaves, entries, self.catchers, default_responder=default_responder)
        plan = Plan(
            self.title, _without_empty(root), answers, flow.engine or "async", self.entries, self.objects,
            self.resources, self.catchers,
        )  # fmt: skip
        _bound_waits(plan)
        plan.forgets = not answers and not any(isinstance(unit, QueueUnit) for unit in outlets_from([plan.root]))
        asynchronous = any(unit.is_async or isinstance(unit, QueueUnit) for unit in plan.units)
        is_done_when_answered = default_responder or not answers or _answers_last(plan)
        plan.inline = not asynchronous and not plan.entries and is_done_when_answered
        if isinstance(plan.root, Segment) and not plan.root.outlets and not plan.entries:
            plan.chain = plan.root
        return plan

    # -- flows ---------------------------------------------------------------------------------------------------

    def flow(
        self, flow: FlowStep, prefix: str, enclosing: StepInfo | None, entry: Segment, leaves: Segment,
        function: str | None,
    ) -> None:  # fmt: skip
        """Make the units of a flow and join them, between `entry` and `leaves`."""
        if enclosing is not None and (flow.input_path or flow.result_path or flow.options != StepOptions()):
            raise GraphError(f"flow '{flow.full_name}' takes no paths or options; give them to the steps in it")
        function = flow.function or function
        local = {name: step for name, step in flow.steps.items() if self._is_local(step, function)}
        infos = {name: StepInfo(name, f"{prefix}{name}", self.title, enclosing) for name in local}
        nodes = {name: self.node(step, f"{prefix}{name}", infos[name], function) for name, step in local.items()}
        catchers = flow.catchers
        self._set_catchers(flow, catchers, nodes, infos)
        edges = successors(flow)
        for name, step in local.items():
            for source in step.cycle_from:
                edges[source].append(name)
        main = _on_main_path(flow, edges)
        for name, node in nodes.items():
            end = (leaves,) if name in main else ()
            self._join(flow, node, [nodes[after] for after in edges[name] if after in nodes], end, catchers)
        self._join_queues(prefix, nodes, edges)
        for node in nodes.values():
            if isinstance(node.exit, HoldUnit):
                node.exit.step.expects([one for one in node.step.after if one not in catchers])
        starts = [nodes[name] for name in start_steps(flow) if name in nodes]
        entry.outlets = tuple(_inlet(one, "") for one in starts if self._starts_here(one.step, function))
        if not entry.outlets and not self.entries:
            raise GraphError(f"{self.title}: no step runs in function '{self.current_function or 'parent'}'")

    def _is_local(self, step: Step, function: str | None) -> bool:
        """Whether a step, or one in it, runs here. A step that names no function runs where its flow does."""
        if self.current_function == "*" or isinstance(step, QueueStep):
            return True
        function = step.function or self.places.get(step.full_name) or function
        if isinstance(step, FlowStep) and any(
            self._is_local(one, function) for one in step.steps.values() if not isinstance(one, QueueStep)
        ):
            return True
        return (function or "") in (self.current_function, "*")

    def _starts_here(self, step: Step, function: str | None) -> bool:
        """Whether a start step gets what comes in here; a queue there is written by its flow's function alone."""
        writer, current = step.function or function or "", self.current_function
        return not isinstance(step, QueueStep) or "*" in (writer, current) or writer == current

    def _set_catchers(
        self, flow: FlowStep, catchers: set[str], nodes: dict[str, Node], infos: dict[str, StepInfo]
    ) -> None:
        _refuse_circles(flow)
        for name, node in nodes.items():
            # What a nested flow names as its catcher is a step in it.
            own = None if isinstance(node.step, FlowStep) else node.step.on_error
            catcher = own or (flow.on_error if name != flow.on_error else None)
            if catcher in nodes:
                infos[name].own_catcher = _inlet(nodes[catcher], name)
            if name in catchers:
                self.catchers.append(node.entry)

    def _join(
        self, flow: FlowStep, node: Node, after: list[Node], end: tuple[Segment, ...], catchers: set[str]
    ) -> None:
        unit = node.exit
        if isinstance(node.step, QueueStep):
            return
        units = {one.step.name: _inlet(one, node.step.name) for one in after}
        unit.outlets = tuple(units.values()) or end
        # What ends behind a catcher, and nowhere else, is the answer to an event that failed.
        unit.responds = unit.responds or node.step.responder or not unit.outlets
        unit.share = unit.share or bool(node.step.options.share)
        if node.select is not None and is_async(node.select):
            raise GraphError(f"step '{node.exit.info.path}': select_outlets can not be async; choose by the body alone")
        if node.select is not None and units:
            unit.select = Outlets(node.select, units, node.step.name)
        cyclic = any(node.step.name in other.step.cycle_from for other in after)
        rejoins = node.step.name in catchers and after
        if cyclic or rejoins:
            node.entry.max_rounds = node.step.max_iterations or flow.max_iterations or DEFAULT_MAX_ITERATIONS

    def _join_queues(self, prefix: str, nodes: dict[str, Node], edges: dict[str, list[str]]) -> None:
        for name, node in nodes.items():
            after = [nodes[one] for one in edges[name] if one in nodes]
            readers = [one for one in after if self.current_function == "*" or not isinstance(one.step, QueueStep)]
            if isinstance(node.step, QueueStep) and readers:
                unit = Segment(node.exit.info)
                unit.outlets = tuple(_inlet(one, name) for one in readers)
                self.entries[f"{prefix}{name}"] = (node.step, unit)

    # -- steps ---------------------------------------------------------------------------------------------------

    def node(self, step: Step, path: str, info: StepInfo, function: str | None) -> Node:
        """The units of one step."""
        if isinstance(step, FlowStep):
            entry, leaves = Segment(info), Segment(info)
            self.flow(step, f"{path}/", info, entry, leaves, function)
            return Node(step, entry, leaves)
        if isinstance(step, QueueStep):
            full_event = bool(step.full_event)
            queue = QueueUnit(info, self.open_stream(step), full_event=full_event)
            return Node(step, queue, queue)
        if not isinstance(step, TaskStep):
            raise GraphError(f"step '{path}' is of an unknown kind: {type(step).__name__}")
        call = self.call(step, path, step.function or self.places.get(step.full_name) or function)
        unit = self.unit(call, step, path, info)
        select = call.select
        if select is not None and call.into is not None and step.input_path:
            read, choose = read_path(step.input_path, step=path), select
            select = lambda body: choose(read(body))  # noqa: E731 - two lines for what is one
        return Node(step, unit, unit, select)

    def call(self, step: TaskStep, path: str, function: str | None) -> Call:
        """Build what a task or router runs."""
        extra = {}
        if isinstance(step, RouterStep):
            extra["routes"] = {
                key: self.route(route, f"{path}/{key}", route.function or function)
                for key, route in step.routes.items()
            }
        call = build_call(with_default_class(step), path, self.shop.of(function), **extra)
        if call.target is not None:
            self.objects[path] = call.target
        return call

    def unit(self, call: Call, step: TaskStep, path: str, info: StepInfo) -> Unit:
        """The unit for a call."""
        clock, resources = self.shop.context.clock, self.resources
        if call.kind == "hold":
            _refuse(call, step, path, "keeps events", ("input_path", "result_path"))
            hold = HoldUnit(call.target, info)
            resources.holds.append(hold)
            return hold
        if call.kind == "stream":
            _refuse(call, step, path, "is a generator")
            start, write = starting(call, step, path, call.fn), writing(step, path)
            return StreamUnit(start, info, write, pool=self._stream_pool(call, path))
        if call.kind == "flat_map":
            return self._flat_unit(call, step, path, info)
        kind, fn, awaits = operation(call, step, path, clock, resources)
        unit = AsyncUnit((kind, fn, info)) if awaits else Segment(info, ((kind, fn, info),))
        unit.share = bool(call.options.share)
        return unit

    def _flat_unit(self, call: Call, step: TaskStep, path: str, info: StepInfo) -> Unit:
        options = call.options
        fn, awaits = call.fn, call.is_async
        if options.execution is not None or options.timeout_seconds is not None or options.retries:
            if not call.is_async:
                call = replace(call, fn=_listing(call.fn), remake=_Listing(call.remake or Same(call.fn)))
            fn, awaits = executed(call, path, self.shop.context.clock, self.resources)
        in_flight = options.max_in_flight or DEFAULT_IN_FLIGHT
        start, write = starting(call, step, path, fn), writing(step, path)
        unit = FlatUnit(start, info, write, awaits=awaits, in_flight=in_flight)
        unit.share = bool(options.share)
        return unit

    def _stream_pool(self, call: Call, path: str) -> ThreadPool | None:
        if call.options.execution == "process":
            raise GraphError(f"step '{path}': a generator can not run with execution='process'; use 'thread'")
        if call.options.execution is None or call.options.execution == "inline":
            return None
        pool = ThreadPool(path)
        self.resources.threads.append(pool)
        return pool

    def route(self, step: Step, path: str, function: str | None) -> Route:
        """One route of a router."""
        info = StepInfo(path.rpartition("/")[2], path, self.title)
        if isinstance(step, FlowStep):
            compiler = replace(self, entries={}, catchers=[])
            plan = compiler.part(step, f"{path}/", default_responder=True, function=function)
            if compiler.entries:
                raise GraphError(f"route '{path}': no step can follow a queue inside a route")
            link = self.link
            make = Route if plan.inline else AsyncRoute
            return make(step.name, EVENT, lambda event: run_part(link.engine, plan, event), info, target=None)
        if not isinstance(step, TaskStep):
            raise GraphError(f"route '{path}' must be a task, a router or a flow")
        call = self.call(step, path, function)
        if call.kind not in ("map", "filter"):
            raise GraphError(f"route '{path}': a {call.kind} step can not be a route; put it into a flow")
        kind, fn, awaits = operation(call, step, path, self.shop.context.clock, self.resources)
        return (AsyncRoute if awaits else Route)(step.name, kind, fn, info, target=call.target)


def _listing(fn: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """The whole list at once, so that what makes the items runs where, and as often, as the options say."""
    return lambda value: list(fn(value))


@dataclass(frozen=True)
class _Listing:
    """The same, made in another process."""

    remake: Callable[[], Callable[[Any], Any]]

    def __call__(self) -> Callable[[Any], list[Any]]:
        return _listing(self.remake())


def _on_main_path(flow: FlowStep, edges: dict[str, list[str]]) -> set[str]:
    """The names of the steps that events reach without failing."""
    found = dict.fromkeys(start_steps(flow))
    todo = list(found)
    for name in todo:
        fresh = [after for after in edges[name] if after not in found]
        found.update(dict.fromkeys(fresh))
        todo += fresh
    return set(found)


def _refuse(call: Call, step: TaskStep, path: str, what: str, fields: tuple[str, ...] = ()) -> None:
    """Refuse options that a kind of step can not follow, rather than forget them."""
    unknown = ("retries", "timeout_seconds", "max_in_flight", *(("execution",) if fields else ()))
    given = [name for name in unknown if getattr(call.options, name) and getattr(call.options, name) != "inline"]
    given += [name for name in fields if getattr(step, name)]
    if given:
        raise GraphError(f"step '{path}' {what}, and takes no {', '.join(f'{name}=' for name in given)}")


def _refuse_circles(flow: FlowStep) -> None:
    """Catchers that catch each other's errors would never end when both fail."""
    for start in flow.catchers:
        circle = [start]
        while (name := flow.steps[circle[-1]].on_error if circle[-1] in flow.steps else None) and name != start:
            if name in circle:
                break  # a circle that this catcher only leads to; it is found from one of its own
            circle.append(name)
        if name == start:
            raise GraphError(f"{flow.title}: the catchers {' -> '.join([*circle, start])} catch each other's errors")


def _inlet(node: Node, source: str) -> Unit:
    return Inlet(node.entry, source) if isinstance(node.entry, HoldUnit) else node.entry


def _without_empty(root: Segment) -> Unit:
    after = root.outlets[0] if len(root.outlets) == 1 else None
    return after if after is not None and not root.ops and not root.responds else root


def _bound_waits(plan: Plan) -> None:
    """Tell the batches and joins of the answers that lie behind them."""
    for unit in outlets_from([plan.root]) if plan.answers else ():
        if isinstance(unit, Inlet) and any(after.responds for after in outlets_from([unit.hold])):
            unit.hold.step.is_answered_behind()


def _answers_last(plan: Plan) -> bool:
    """Whether nothing is left to do for an event once it is answered."""
    units, behind_catchers = outlets_from([plan.root]), outlets_from(plan.catchers)
    return all(unit.responds != bool(unit.outlets) for unit in units if unit not in behind_catchers)
