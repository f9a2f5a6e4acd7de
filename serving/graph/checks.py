"""Everything that can be known to be wrong with a graph before anything runs. Linear in steps and edges."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence

from ...errors import GraphError, UndeclaredCycle, UnknownStep, near
from .flow import FlowStep
from .router import RouterStep
from .step import QueueStep, Step

EVERYWHERE = "*"


def validate(root: FlowStep | RouterStep, functions: Collection[str] = ()) -> None:
    """Raise the first fault of the graph, with the others as notes.

    :param functions: the names of the child functions that exist
    """
    raise_first(list(problems(root, functions)))


def raise_first(faults: Sequence[Exception]) -> None:
    """Raise the first of several faults, with the others as notes; nothing where there is none."""
    if faults:
        for other in faults[1:]:
            faults[0].add_note(f"also: {other}")
        raise faults[0]


def problems(root: FlowStep | RouterStep, functions: Collection[str] = ()) -> Iterator[GraphError]:
    """The faults of a graph, one after the other."""
    if isinstance(root, RouterStep):
        yield from _router_problems(root, functions)
        return
    if root.responder:
        yield GraphError(f"{root.title} can not respond as a whole; call .respond() on the step whose result answers")
    yield from _flow_problems(root, functions)
    if root.engine == "sync":
        yield from _sync_problems(root)


def successors(flow: FlowStep) -> dict[str, list[str]]:
    """Which steps come after which, by name; declared cycles and error edges are left out."""
    edges: dict[str, list[str]] = {name: [] for name in flow.steps}
    for name, step in flow.steps.items():
        for before in step.after:
            if before in edges:
                edges[before].append(name)
    return edges


def start_steps(flow: FlowStep) -> list[str]:
    """The steps that get the events that come into the flow."""
    catchers = flow.catchers
    return [name for name, step in flow.steps.items() if not step.after and name not in catchers]


def flatten(flow: FlowStep) -> Iterator[Step]:
    """All steps of a flow and of the flows nested in it."""
    for step in flow.steps.values():
        yield step
        if isinstance(step, FlowStep):
            yield from flatten(step)


def _flow_problems(flow: FlowStep, functions: Collection[str]) -> Iterator[GraphError]:
    if not flow.steps:
        where = "set_topology() and graph.to(…)" if flow.is_root else "flow.to(…)"
        yield GraphError(f"{flow.title} has no steps; add them with {where}")
        return
    renamed = [(name, step.name) for name, step in flow.steps.items() if step.name != name]
    if renamed:  # all else goes by names
        for name, now in renamed:
            yield GraphError(f"{flow.title}: the step '{name}' is named '{now}'; give it its name when it is added")
        return
    yield from _name_problems(flow)
    edges = successors(flow)
    yield from _cycle_problems(flow, edges)
    yield from _reach_problems(flow, edges)
    if flow.parent is None:
        yield from _responder_problems(flow)
    for name, step in flow.steps.items():
        yield from _function_problems(flow, step, [flow.steps[after] for after in edges[name]], functions)
        if isinstance(step, RouterStep):
            yield from _router_problems(step, functions)
        elif isinstance(step, FlowStep):
            yield from _flow_problems(step, functions)


def _name_problems(flow: FlowStep) -> Iterator[GraphError]:
    for source, target in flow.pending_cycles:
        yield UnknownStep(target, graph=flow.title, role=f"cycle_to of step '{source}'", known=flow.steps)
    for catcher, target in flow.pending_rejoins:
        yield UnknownStep(target, graph=flow.title, role=f"before= of catcher '{catcher}'", known=flow.steps)
    if flow.on_error and flow.on_error not in flow.steps and (flow.parent is None or flow.on_error not in flow.parent):
        yield UnknownStep(flow.on_error, graph=flow.title, role="the graph's error_handler", known=flow.steps)
    for name, step in flow.steps.items():
        named = [(one, "after") for one in step.after] + [(one, "cycle_from") for one in step.cycle_from]
        if step.on_error and not isinstance(step, FlowStep):
            named.append((step.on_error, "error_handler"))
        for other, role in named:
            if other not in flow.steps:
                yield UnknownStep(other, graph=flow.title, role=f"{role} of step '{name}'", known=flow.steps)
        if step.on_error == name:
            yield GraphError(f"{flow.title}: step '{name}' can not catch its own errors")


def _cycle_problems(flow: FlowStep, edges: dict[str, list[str]]) -> Iterator[GraphError]:
    waiting = {name: sum(one in flow.steps for one in step.after) for name, step in flow.steps.items()}
    ready = deque(name for name, count in waiting.items() if count == 0)
    while ready:
        for name in edges[ready.popleft()]:
            waiting[name] -= 1
            if waiting[name] == 0:
                ready.append(name)
    stuck = {name for name, count in waiting.items() if count > 0}
    if stuck:
        yield UndeclaredCycle(_circle(flow, stuck), graph=flow.title)


def _circle(flow: FlowStep, stuck: set[str]) -> list[str]:
    """One circle among steps of which each follows another of them."""
    name, seen = next(iter(sorted(stuck))), dict[str, int]()
    while name not in seen:
        seen[name] = len(seen)
        name = next(one for one in flow.steps[name].after if one in stuck)
    circle = list(seen)[seen[name] :]
    return [name, *reversed(circle)]


def _reach_problems(flow: FlowStep, edges: dict[str, list[str]]) -> Iterator[GraphError]:
    starts = start_steps(flow)
    todo = deque([*starts, flow.on_error or ""])
    reached = set(todo)
    while todo:
        step = flow.get(todo.popleft())
        for name in [*edges[step.name], step.on_error or ""] if step is not None else []:
            if name not in reached:
                reached.add(name)
                todo.append(name)
    if not starts:
        yield GraphError(f"{flow.title} has no step to start with: each one follows another or catches errors")
    for name in flow.steps:
        if name not in reached:
            yield GraphError(f"{flow.title}: no event can reach step '{name}'; give it after= a step that runs")


def _responder_problems(flow: FlowStep) -> Iterator[GraphError]:
    responders = [step for step in flatten(flow) if step.responder]
    if len(responders) > 1:
        names = " and ".join(f"'{step.full_name}'" for step in responders)
        yield GraphError(f"{flow.title}: {names} both respond; an event has one answer, keep one .respond()")
    for step in responders:
        if isinstance(step, QueueStep):
            yield GraphError(f"{flow.title}: queue '{step.name}' can not respond; let the step before it do so")
        elif isinstance(step.parent, FlowStep) and _behind_queue(step.parent, step):
            yield GraphError(
                f"{flow.title}: step '{step.full_name}' responds behind a queue, where the caller is gone; "
                "respond before it"
            )


def _behind_queue(flow: FlowStep, step: Step) -> bool:
    seen, todo = {step.name}, [step]
    while todo:
        for name in todo.pop().after:
            before = flow.steps.get(name)
            if isinstance(before, QueueStep):
                return True
            if before is not None and name not in seen:
                seen.add(name)
                todo.append(before)
    return flow.parent is not None and _behind_queue(flow.parent, flow)


def _function_problems(
    flow: FlowStep, step: Step, followers: list[Step], functions: Collection[str]
) -> Iterator[GraphError]:
    yield from _defined(step, f"{flow.title}: step '{step.full_name}'", functions)
    for follower in followers:
        if isinstance(follower, QueueStep):
            continue
        if isinstance(step, QueueStep):
            if not follower.runs_in:
                yield GraphError(
                    f"{flow.title}: step '{follower.full_name}' must specify a function=, because it follows the queue "
                    f"'{step.name}'"
                )
        elif _are_apart(step, follower) and (step.runs_in or step.name not in flow.catchers):
            yield GraphError(
                f"{flow.title}: step '{follower.full_name}' ({_place(follower)}) follows '{step.full_name}' "
                f"({_place(step)}) with no queue between them; put graph.add_step('>>', …) there"
            )


def _are_apart(step: Step, follower: Step) -> bool:
    return step.runs_in != follower.runs_in and EVERYWHERE not in (step.runs_in, follower.runs_in)


def _place(step: Step) -> str:
    return f"function '{step.runs_in}'" if step.runs_in else "the parent function"


def _defined(step: Step, where: str, functions: Collection[str]) -> Iterator[GraphError]:
    if step.function and step.function != EVERYWHERE and step.function not in functions:
        yield GraphError(
            f"{where} runs in function '{step.function}', which is not defined; "
            f"use function.add_child_function('{step.function}', …){near(step.function, functions)}"
        )


def _router_problems(router: RouterStep, functions: Collection[str]) -> Iterator[GraphError]:
    where = f"router '{router.full_name or 'router'}'"
    if not router.routes:
        yield GraphError(f"{where} has no routes; add them with add_route() or add_model()")
    for key, route in router.routes.items():
        yield from _defined(route, f"{where}: route '{key}'", functions)
        if route.name != key:
            yield GraphError(f"{where}: the route '{key}' is named '{route.name}'; set routes with add_route()")
        if isinstance(route, RouterStep):
            yield from _router_problems(route, functions)
        elif isinstance(route, FlowStep):
            yield from _flow_problems(route, functions)
        elif isinstance(route, QueueStep):
            yield GraphError(f"{where}: a queue can not be a route; put it after the router")


def _sync_problems(flow: FlowStep) -> Iterator[GraphError]:
    hint = "use engine='async'"
    if flow.allow_cyclic:
        yield GraphError(f"{flow.title}: cyclic graphs are not for the sync engine; {hint}")
    starts = start_steps(flow)
    if len(starts) > 1:
        yield GraphError(f"{flow.title}: the sync engine has one start step, not {', '.join(starts)}; {hint}")
    for name, followers in successors(flow).items():
        if len(followers) > 1:
            yield GraphError(
                f"{flow.title}: the sync engine runs plain chains, but step '{name}' branches to "
                f"{', '.join(followers)}; {hint}"
            )
    catchers = flow.catchers  # one that sends back to the start step is no branch
    for step in flow.steps.values():
        if not catchers.issuperset(step.cycle_from):
            yield GraphError(f"{flow.title}: the sync engine has no cycles (step '{step.name}'); {hint}")
        if isinstance(step, FlowStep):
            yield from _sync_problems(step)
