"""A part of a graph does what the whole graph does for the same function: the same answers, the same messages."""

from __future__ import annotations

import pytest

import millrace
from millrace.serving.deploy.target import Target
from millrace.serving.functions.function import ServingFunction
from millrace.serving.functions.text import load_yaml
from millrace.serving.functions.units import units_of

QUEUES = ("left", "right", "out", "in", "inner/q", "aside", "q", "again")
BROKER = "kafka://broker.example.com:9092"


def branches():
    function = millrace.new_function("branches")
    graph = function.set_topology("flow")
    graph.to(name="first", handler="(event + 1)").respond()
    graph.add_step(">>", "left", path=f"{BROKER}/left", after="first")
    graph.add_step(">>", "right", path=f"{BROKER}/right", after="first")
    graph.add_step(name="double", handler="(event * 2)", function="one", after="left")
    graph.add_step(name="square", handler="(event ** 2)", function="two", after=["left", "right"])
    graph.add_step(">>", "out", path=f"{BROKER}/out", after=["double", "square"])
    return function


def nested():
    function = millrace.new_function("nested")
    graph = function.set_topology("flow")
    graph.to(">>", "in", path=f"{BROKER}/in")
    inner = graph.add_flow("inner", after="in", function="one")
    inner.to(name="a", handler="(event + 1)").to(">>", "q", path=f"{BROKER}/q")
    inner.add_step(name="b", handler="(event * 10)", function="two", after="q")
    graph.add_step(">>", "out", path=f"{BROKER}/out", after="inner")
    graph.add_step(name="beside", handler="(event - 1)", function="two", after="in")
    graph.add_step(">>", "aside", path=f"{BROKER}/aside", after="beside")
    return function


def caught():
    function = millrace.new_function("caught")
    graph = function.set_topology("flow")
    graph.to(name="first", handler="(1 / event)").error_handler("wrong", handler="('failed')").respond()
    graph.add_step(">>", "q", path=f"{BROKER}/q", after="first")
    step = graph.add_step(name="work", handler="(1 / event)", function="one", after="q")
    step.error_handler("saved", handler="(-1)", function="one")
    graph.add_step(">>", "out", path=f"{BROKER}/out", after=["work", "saved"])
    graph.error_handler("last", handler="('last')")
    return function


def looped():
    function = millrace.new_function("looped")
    graph = function.set_topology("flow")
    graph.to(">>", "q", path=f"{BROKER}/q")
    graph.add_step(name="less", handler="(event - 1)", function="one", after="q")
    graph.add_step(name="more", handler="(event if event > 0 else None)", function="one", after="less")
    graph.add_step(">>", "again", path=f"{BROKER}/again", after="more")
    return function


def behaviour(function, current, body):
    """The answer to an event from outside, without its random id, and all that it wrote."""
    with function.to_mock_server(namespace={}, current_function=current) as server:
        answer = server.test(body=body, silent=True)
        server.wait_for_completion()
        messages = {name: written(server, name) for name in QUEUES}
    answer = getattr(answer, "body", answer)
    return "an id" if isinstance(answer, dict) and "id" in answer else answer, messages


def written(server, name):
    """What a queue holds; nothing where this function does not know it."""
    try:
        return sorted(one.value for one in server.queue(name).messages)
    except millrace.errors.GraphError:
        return []


@pytest.mark.parametrize("body", [0, 1, 7])
@pytest.mark.parametrize(
    ("graph", "current"),
    [
        *((branches, name) for name in ("", "one", "two")),
        *((nested, name) for name in ("", "one", "two")),
        *((caught, name) for name in ("", "one")),
        *((looped, name) for name in ("", "one")),
    ],
)
def test_a_part_behaves_as_the_whole_graph_does_in_that_function(graph, current, body):
    function = graph()
    for name in {"one", "two"} & {step.function for step in _steps(function.graph)}:
        function.add_child_function(name)
    (unit,) = (one for one in units_of(function, Target(name="kubernetes")) if one.child == current)
    part = ServingFunction.from_dict(load_yaml(unit.spec, source="unit"))
    assert behaviour(part, current, body) == behaviour(function, current, body)


def _steps(flow):
    for step in flow.steps.values():
        yield step
        yield from _steps(step) if hasattr(step, "steps") else ()
