"""The queue steps of a graph: what is wrong with their settings, and which functions read them."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import GraphError
from ..graph.checks import start_steps
from ..graph.flow import FlowStep
from ..graph.router import RouterStep
from ..graph.step import QueueStep, Step


def queue_steps(step: Step) -> Iterator[QueueStep]:
    """The queue steps in a graph, wherever they are."""
    if isinstance(step, QueueStep):
        yield step
    inner = step.steps if isinstance(step, FlowStep) else step.routes if isinstance(step, RouterStep) else {}
    for one in inner.values():
        yield from queue_steps(one)


def queue_problems(graph: Step, function: str) -> Iterator[GraphError]:
    """What is wrong with the settings of a graph's queues, whether or not they are real here.

    :param function: the function's name
    """
    steps = list(queue_steps(graph))
    if not steps:
        return
    from .wiring import Wiring  # noqa: PLC0415 - for start-up: for graphs with queues only

    # Secrets may come to the place where the function runs, so that each is taken to exist.
    wiring = Wiring(function, secret=lambda name: "")
    for step in steps:
        try:
            wiring.of_step(step)
        except GraphError as error:
            yield error


def readers_of(flow: FlowStep) -> dict[str, set[str]]:
    """Which functions read each queue of a flow, by the queue step's full name; ``""`` is the parent."""
    found: dict[str, set[str]] = {}
    for step in flow.steps.values():
        if isinstance(step, FlowStep):
            found |= readers_of(step)
        elif isinstance(step, QueueStep):
            after = [other for other in flow.steps.values() if step.name in other.after]
            found[step.full_name] = {name for other in after for name in _first_functions(other)}
    return found


def _first_functions(step: Step) -> set[str]:
    """Which functions get the events that come to a step; in a nested flow its start steps do."""
    if isinstance(step, FlowStep):
        return {name for start in start_steps(step) for name in _first_functions(step.steps[start])}
    return {step.runs_in or ""}
