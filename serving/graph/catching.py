"""Where catchers run that name no function: where the steps run whose errors they catch."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ...errors import GraphError
from .checks import EVERYWHERE, start_steps, successors
from .flow import FlowStep
from .router import RouterStep
from .step import QueueStep, Step

Places = dict[str, str]


def catcher_places(graph: Step) -> Places:
    """The child functions of catchers that name none, and of what follows only them, by the step's full name.

    A catcher of one step runs where the step does. A catcher of the whole graph runs in each of its functions, ``"*"``,
    or, when it has a ``before=``, where the step runs at which its events go on. Those that run in the parent are left
    out.

    >>> flow = FlowStep()
    >>> step = flow.to(">>", "queue").to(name="work", handler="(event / 0)", function="child")
    >>> _ = step.error_handler("catch", handler="('caught')")
    >>> catcher_places(flow)
    {'catch': 'child'}
    """
    found: Places = {}
    for flow in _flows(graph):
        names = flow.catchers
        catchers = [flow.steps[name] for name in flow.steps if name in names and not flow.steps[name].function]
        for _ in catchers:  # one may catch the errors of another, and that those of a third
            for catcher in catchers:
                _place(flow, catcher, found)
    return found


def catching_problems(graph: Step) -> Iterator[GraphError]:
    """Catchers whose events can not go on where ``before=`` says, as that is in another function."""
    places = catcher_places(graph)
    for flow in _flows(graph):
        for name in sorted(flow.catchers & flow.steps.keys()):
            place = places.get(flow.steps[name].full_name, EVERYWHERE)
            for step in _ways_back(flow, _behind(flow, flow.steps[name])) if place != EVERYWHERE else ():
                if not _functions(step, places) & {place, EVERYWHERE}:
                    there = f"function '{step.runs_in}'" if step.runs_in else "the parent function"
                    yield GraphError(
                        f"{flow.title}: '{name}' catches errors in function '{place}', and they can not go on at "
                        f"'{step.name}', which runs in {there}; let them end in the catcher, or put a queue between"
                    )


def _flows(step: Step) -> Iterator[FlowStep]:
    if isinstance(step, FlowStep):
        yield step
    inner = step.steps if isinstance(step, FlowStep) else step.routes if isinstance(step, RouterStep) else {}
    for one in inner.values():
        yield from _flows(one)


def _place(flow: FlowStep, catcher: Step, found: Places) -> None:
    """Find the place of a catcher, and of what follows only it."""
    behind = _behind(flow, catcher)
    functions = {
        one for step in flow.steps.values() if step.name not in behind and _catches(flow, catcher, step)
        for one in _functions(step, found)
    }  # fmt: skip
    if flow.on_error == catcher.name:
        for step in _ways_back(flow, behind):
            there = _functions(step, found)
            functions = functions if EVERYWHERE in there else functions & there
    if not functions or functions == {catcher.runs_in or ""}:
        return
    place = functions.pop() if len(functions) == 1 else EVERYWHERE
    if place:
        found.update({flow.steps[name].full_name: place for name in behind if not flow.steps[name].function})


def _catches(flow: FlowStep, catcher: Step, step: Step) -> bool:
    return flow.on_error == catcher.name or (step.on_error == catcher.name and not step.catches_inside)


def _functions(step: Step, found: Places | None = None) -> set[str]:
    """The functions in which a step, or one in it, runs; a queue is written where the steps before it run."""
    if isinstance(step, FlowStep):
        return {name for one in step.steps.values() for name in _functions(one, found)}
    if isinstance(step, QueueStep) and isinstance(step.parent, FlowStep) and step.after:
        before = [step.parent.steps[name] for name in step.after if name in step.parent.steps]
        return {name for one in before if not isinstance(one, QueueStep) for name in _functions(one, found)}
    return {(found or {}).get(step.full_name) or step.runs_in or ""}


def _behind(flow: FlowStep, catcher: Step) -> list[str]:
    """A catcher and the steps that only its events reach, but no queues."""
    edges = successors(flow)
    names = _reached(edges, [catcher.name], stop=_reached(edges, start_steps(flow)))
    return [name for name in names if not isinstance(flow.steps[name], QueueStep)]


def _reached(edges: dict[str, list[str]], starts: list[str], stop: Collection[str] = ()) -> list[str]:
    found = list(starts)
    for name in found:
        found += [one for one in edges[name] if one not in found and one not in stop]
    return found


def _ways_back(flow: FlowStep, behind: list[str]) -> list[Step]:
    """The steps at which the events of a catcher are ordinary events again."""
    edges = successors(flow)
    names = dict.fromkeys(one for name in behind for one in edges[name] if one not in behind)
    return [flow.steps[name] for name in names if not isinstance(flow.steps[name], QueueStep)]
