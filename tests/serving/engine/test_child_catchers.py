"""Catchers in graphs with child functions: they run where the steps do whose errors they catch."""

import json
import time
from urllib.request import Request, urlopen

import pytest
import yaml

import millrace
from millrace.errors import GraphError
from millrace.serving.doors.http import HttpSettings
from millrace.serving.doors.http_run import running
from millrace.serving.functions.real import StreamsAt
from millrace.serving.functions.runtime import make_engine
from millrace.serving.graph.catching import catcher_places


def fails(body):
    raise ValueError("broken")


def shop():
    """A graph whose step fails in a child function, behind a queue."""
    function = millrace.new_function("shop")
    graph = function.set_topology("flow")
    first = graph.to(name="first", handler="(event)")
    work = first.to(">>", "orders").to(name="work", handler=fails, function="child")
    function.add_child_function("child")
    return function, graph, work


def run_in_parts(function, folder, is_done, *, body=1):
    """The parent and the child in engines of their own, until it is done; the errors that nobody caught."""
    parts = [make_engine(function, [], streams_at=StreamsAt(folder), current_function=one) for one in ("", "child")]
    settings = HttpSettings(port=0)
    with running(*parts[0], settings=settings) as parent, running(*parts[1], settings=settings):
        urlopen(Request(parent.url, json.dumps(body).encode()), timeout=20).close()
        end = time.monotonic() + 20
        while not is_done():
            assert time.monotonic() < end
            time.sleep(0.005)
        return [error for engine, _ in parts for error in engine.errors]


@pytest.mark.parametrize("level", ["step", "graph"])
def test_catcher_without_a_function_catches_errors_of_steps_in_a_child(tmp_path, level):
    function, graph, work = shop()
    caught = []
    (work if level == "step" else graph).error_handler("catcher", handler=caught.append)
    assert run_in_parts(function, tmp_path, lambda: caught) == [] and caught == [1]


def test_catcher_of_the_graph_catches_in_the_parent_too(tmp_path):
    function, graph, _ = shop()
    caught = []
    graph.steps["first"].handler = fails
    graph.error_handler("catcher", handler=caught.append)
    assert run_in_parts(function, tmp_path, lambda: caught) == [] and caught == [1]


def test_what_follows_only_a_catcher_runs_where_it_does(tmp_path):
    function, graph, work = shop()
    seen = []
    work.error_handler("catcher", handler="('caught')")
    graph.add_step(name="tell", handler=seen.append, after="catcher")
    assert run_in_parts(function, tmp_path, lambda: seen) == [] and seen == ["caught"]


def test_catcher_sends_its_events_on_in_its_own_function(tmp_path):
    function, graph, work = shop()
    seen = []
    graph.add_step(name="save", handler=seen.append, after="work", function="child")
    work.error_handler("catcher", handler="('default')", before="save")
    assert run_in_parts(function, tmp_path, lambda: seen) == [] and seen == ["default"]


def test_catcher_of_the_graph_that_goes_on_somewhere_runs_there_only():
    _, graph, _ = shop()
    graph.error_handler("catcher", handler="(event)", before="orders")
    assert catcher_places(graph) == {"catcher": "*"}  # each function can write to a queue
    _, graph, _ = shop()
    graph.error_handler("catcher", handler="(event)", before="work")
    assert catcher_places(graph) == {"catcher": "child"}


def test_catcher_that_names_its_function_and_one_in_a_graph_without_children_stay_where_they_are():
    _, graph, work = shop()
    work.error_handler("catcher", handler="(event)", function="*")
    assert catcher_places(graph) == {}
    alone = millrace.new_function("alone").set_topology("flow")
    alone.to(name="work", handler=fails).error_handler("catcher", handler="(event)")
    assert catcher_places(alone) == {}


def test_deployed_child_gets_the_catcher_of_its_step_and_the_parent_does_not(tmp_path):
    function = millrace.new_function("shop")
    first = function.set_topology("flow").to(name="first", handler="(event)")
    queue = first.to(">>", "orders", path="kafka://broker:9092/orders")
    queue.to(name="work", handler="(1 / event)", function="child").error_handler("catcher", handler="(event)")
    function.add_child_function("child")
    function.export("nuclio", str(tmp_path / "out"))
    specs = {file.parent.name: yaml.safe_load(file.read_text()) for file in tmp_path.rglob("function-spec.yaml")}
    graphs = {name: spec["spec"]["graph"]["steps"] for name, spec in specs.items()}
    child = graphs["shop-child"]
    assert child["catcher"]["function"] == child["work"]["function"] == "child"
    assert child["work"]["on_error"] == "catcher" and "catcher" not in graphs["shop"]


def test_catcher_that_can_not_go_on_from_its_function_is_refused_when_the_graph_is_built():
    function, graph, work = shop()
    graph.add_step(name="tell", handler="(event)", after="first")
    work.error_handler("catcher", handler="(event)", before="tell")
    with pytest.raises(GraphError, match="'catcher' catches errors in function 'child', and they can not go on at 'te"):
        function.validate()
    with pytest.raises(GraphError, match="'tell', which runs in the parent function; let them end in the catcher"):
        function.to_mock_server()
