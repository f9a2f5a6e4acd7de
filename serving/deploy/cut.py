"""The part of a graph that one function runs: the graph cut at its queues. Graphs are plain data here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Graph = Mapping[str, Any]
EVERYWHERE = "*"
NAMES = ("after", "cycle_from", "cycle_to")


def cut(graph: Graph, function: str) -> dict[str, Any]:
    """The graph with the steps of one function, and the queues that these read and write.

    :param graph: as :func:`millrace.serving.graph.dump.to_dict` writes it; a router is never cut
    :param function: the name of a child function, or ``""`` for the parent

    >>> steps = {"a": {"kind": "task"}, "q": {"kind": "queue", "after": ["a"]},
    ...          "b": {"kind": "task", "after": ["q"], "function": "child"}}
    >>> list(cut({"kind": "flow", "steps": steps}, "")["steps"])
    ['a', 'q']
    >>> cut({"kind": "flow", "steps": steps}, "child")["steps"]["q"]
    {'kind': 'queue'}
    """
    return dict(graph) if "steps" not in graph else _cut_flow(graph, function, "", set())


def with_sources(part: Graph, graph: Graph, function: str, around: str = "") -> dict[str, Any]:
    """A part of a graph with a stand-in before each queue, or nested flow, that only others write to.

    So it is no start step: what comes to the function by another way begins behind its queues, as in the whole graph. A
    stand-in runs nowhere, and only its name is left of the step that writes.

    :param part: what :func:`cut` left of `graph`
    """
    if "steps" not in part:
        return dict(part)
    around = part.get("function") or around
    steps: dict[str, Any] = {}
    for name, step in part["steps"].items():
        own = graph["steps"][name]
        place = step.get("function")
        if own.get("after") and not step.get("after") and place != function:
            source = own["after"][0]
            place = place or (graph["steps"][source].get("function") if around == function else None)
            source = f"before-{name}" if source in part["steps"] else source
            steps[source] = {"kind": "task", "handler": "(event)", **({"function": place} if place else {})}
            step = {**step, "after": [source]}
        steps[name] = with_sources(step, own, function, around)
    return {**part, "steps": steps}


def queues(graph: Graph, path: str = "") -> Iterator[tuple[str, dict[str, Any], Graph]]:
    """The queue steps of a graph: the names from the root on, joined by ``/``, the step, and the flow that it is in."""
    for name, step in (graph.get("steps") or graph.get("routes") or {}).items():
        if _is_queue(step):
            yield f"{path}{name}", step, graph
        else:
            yield from queues(step, f"{path}{name}/")


def readers(flow: Graph, name: str) -> list[str]:
    """The steps of a flow that read a queue of it."""
    return [one for one, step in flow.get("steps", {}).items() if name in step.get("after", []) and not _is_queue(step)]


def _cut_flow(flow: Graph, function: str, around: str, outer: set[str]) -> dict[str, Any]:
    around = flow.get("function") or around
    kept = _kept(flow, function, around)
    steps = {}
    for name in (one for one in flow["steps"] if one in kept):
        step = dict(flow["steps"][name])
        if "steps" in step:
            step = _cut_flow(step, function, around, kept)
        if "steps" in step and not first_functions(flow["steps"][name], around) & {function, EVERYWHERE}:
            # Events come into a nested flow where its first steps run, and that is elsewhere.
            step.pop("after", None)
        step = {key: [one for one in value if one in kept] if key in NAMES else value for key, value in step.items()}
        step = {key: value for key, value in step.items() if value or key not in NAMES}
        known = kept | (set(step["steps"]) if "steps" in step else set())
        if step.get("on_error") not in known:
            step.pop("on_error", None)
        steps[name] = step
    found = {**flow, "steps": steps}
    if found.get("on_error") not in kept | outer:
        found.pop("on_error", None)
    return found


def _kept(flow: Graph, function: str, around: str) -> set[str]:
    """The names of the steps that stay."""
    steps: Graph = flow["steps"]
    own = {name for name, step in steps.items() if not _is_queue(step) and runs(step, function, around)}
    own = _without_idle_catchers(flow, own)
    kept = own | {name for name, step in steps.items() if _is_queue(step) and _uses(flow, name, own, function, around)}
    return kept | {name for name in steps if _is_queue(steps[name]) and name in _catchers(flow, kept)}


def runs(step: Graph, function: str, around: str = "") -> bool:
    """Whether a step, or one in it, runs in a function.

    :param around: the function of the flow around it
    """
    around = step.get("function") or around
    inner = step["steps"].values() if "steps" in step else ()
    return around in (function, EVERYWHERE) or any(runs(one, function, around) for one in inner if not _is_queue(one))


def first_functions(step: Graph, around: str = "") -> set[str]:
    """The functions in which events come to a step: in a nested flow, to its start steps; ``""`` is the parent."""
    around = step.get("function") or around
    if "steps" not in step:
        return {around}
    caught = _catchers(step, set(step["steps"]))
    starts = (one for name, one in step["steps"].items() if not one.get("after") and name not in caught)
    return {name for one in starts for name in first_functions(one, around)}


def _uses(flow: Graph, queue: str, own: set[str], function: str, around: str) -> bool:
    """Whether the steps of a function write or read a queue; one at the start is written by its flow's function."""
    before = flow["steps"][queue].get("after", [])
    starts = not before and queue not in _catchers(flow, set(flow["steps"])) and around in (function, EVERYWHERE)
    reads = any(first_functions(flow["steps"][one], around) & {function, EVERYWHERE} for one in readers(flow, queue))
    return starts or reads or bool(own & set(before))


def _without_idle_catchers(flow: Graph, own: set[str]) -> set[str]:
    """Without catchers of steps that run elsewhere, and what follows only them: they would become start steps."""
    steps, every = flow["steps"], _catchers(flow, set(flow["steps"]))
    gone: set[str] = set()
    while True:
        useful = _catchers(flow, own - gone)
        idle = {name for name in own - gone if name in every - useful
                or (steps[name].get("after") and gone.issuperset(steps[name]["after"]))}  # fmt: skip
        if not idle:
            return own - gone
        gone |= idle


def _catchers(flow: Graph, names: set[str]) -> set[str]:
    """The steps of a flow that catch the errors of these steps, or of the flow."""
    steps = flow["steps"]
    found = {steps[name].get("on_error") for name in names if steps[name].get("on_error") not in
             (steps[name].get("steps") or {})}  # fmt: skip
    return {one for one in (*found, flow.get("on_error")) if one in steps}


def _is_queue(step: Graph) -> bool:
    return step.get("kind") == "queue"
