"""A graph as YAML or a dict, and back: nothing is lost, and nothing runs that was not asked for."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import millrace
from millrace.errors import GraphError, SpecError, UnknownStep, UntrustedPickle
from millrace.serving import FlowStep, RouterStep, StepOptions
from millrace.serving.functions.function import ServingFunction
from millrace.serving.functions.text import load_yaml
from millrace.serving.graph.dump import from_dict, root_from_dict, to_dict


class Scale:
    def __init__(self, by=1, key=None):
        self.by = by
        self.key = key

    def do(self, body):
        return body * self.by


class Text(str):
    """A text that YAML would not know."""


def again(function, **options):
    return ServingFunction.from_dict(load_yaml(function.to_yaml(**options), source="text"), trusted=bool(options))


# -- round trips ---------------------------------------------------------------------------------------------------

OPERATIONS = ("(event + 1)", "(event * 2)", "(event - 3)", "(abs(event))")


@st.composite
def random_functions(draw):
    """A function whose graph was built by the API: chains, catchers, nested flows, options, a responder."""
    function = millrace.new_function(f"random{draw(st.integers(0, 99))}")
    step = graph = function.set_topology("flow", engine=draw(st.sampled_from(["sync", "async"])))
    for n in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["handler", "class", "library", "flow"]))
        if kind == "handler":
            step = step.to(name=f"s{n}", handler=draw(st.sampled_from(OPERATIONS)), retries=0)
        elif kind == "class":
            full_event = draw(st.sampled_from([None, False]))
            step = step.to(Scale, name=f"s{n}", by=draw(st.integers(-3, 3)), full_event=full_event)
        elif kind == "library":
            step = step.to("storey.Map", name=f"s{n}", _fn=draw(st.sampled_from(OPERATIONS)))
        else:
            inner = step.to(FlowStep(), f"s{n}")
            inner.to(name="inside", handler=draw(st.sampled_from(OPERATIONS)))
            step = inner
        if kind != "flow" and draw(st.booleans()):
            step.error_handler("catch")
    if graph.catchers:
        graph.add_step(name="catch", handler="(0)", after="")
    last = list(graph)[-2 if graph.catchers else -1]
    if not isinstance(graph[last], FlowStep):
        graph[last].respond()
    elif graph.engine == "async":
        graph[last]["inside"].respond()
    return function


@settings(deadline=None, max_examples=40)
@given(random_functions(), st.integers(-5, 5))
def test_any_graph_comes_back_from_yaml_equal_and_answers_equally(function, body):
    loaded = again(function)
    assert loaded.to_yaml() == function.to_yaml()
    with function.to_mock_server() as server, loaded.to_mock_server() as other:
        assert other.test(body=body) == server.test(body=body)


def test_everything_that_a_step_can_say_comes_back():
    graph = FlowStep(name="f", engine="async", max_iterations=7, max_in_flight=5, allow_cyclic=True)
    step = graph.to(Scale, name="a", by=2, full_event=False, input_path="x.y", result_path="z", max_iterations=4,
                    options=StepOptions(retries=0, share=False, timeout_seconds=1.5, execution="thread"))  # fmt: skip
    step.error_handler(name="fix", class_name="Catch", depth={"a": [1, None]}, before=None, function="*")
    step.to(">>", "q", path="log:///t", shards=2, retention_in_hours=1, trigger_args={"x": 1}, full_event=True)
    router = graph.add_step("*a.Router", name="r", after="q", function="f", weights={"m": 0.5}).cycle_to("a", "later")
    router.add_route("m:v1", class_name="Model", model_path=Path("/m"), function="g")
    router.add_route("inner", class_name="*").add_route("m", handler="(event)")
    router.add_route("flow", FlowStep()).to(name="x", handler="(event)").respond()
    found = to_dict(graph)
    assert to_dict(root_from_dict(json.loads(json.dumps(found)))) == found
    assert found["steps"]["a"]["full_event"] is False
    assert found["steps"]["a"]["options"]["share"] is False and found["steps"]["a"]["options"]["retries"] == 0
    assert found["steps"]["r"]["cycle_to"] == ["later"]


def test_a_router_as_the_root_comes_back():
    function = millrace.new_function("f")
    function.set_topology("router", "mlrun.serving.VotingEnsemble", vote_type="regression")
    function.add_model("m1", class_name=Scale, by=2, model_path="m.pkl")
    loaded = again(function)
    assert isinstance(loaded.graph, RouterStep)
    assert loaded.to_dict() == function.to_dict()
    assert loaded.graph["m1"].class_args == {"by": 2, "model_path": "m.pkl"}


def test_a_graph_that_was_loaded_can_be_built_further():
    function = millrace.new_function("f")
    function.set_topology("flow").to(name="a", handler="(event + 1)")
    loaded = again(function)
    loaded.graph.add_step(name="b", handler="(event * 10)", after="$prev").respond()
    assert loaded.to_mock_server().test(body=1) == 20


# -- objects -------------------------------------------------------------------------------------------------------


def test_classes_and_functions_of_modules_are_written_by_name():
    graph = FlowStep()
    graph.to(json.loads, name="a").to(Scale, name="b").to("storey.Map", name="c", fn=json.dumps)
    steps = to_dict(graph)["steps"]
    assert steps["a"]["handler"] == "json.loads"
    assert steps["b"]["class_name"] == f"{__name__}.Scale"
    assert steps["c"]["class_args"] == {"_fn": "json.dumps"}


def test_a_function_among_the_arguments_is_a_function_again():
    function = millrace.new_function("f")
    function.set_topology("flow").to("storey.Map", name="m", fn=json.dumps).respond()
    assert again(function).to_mock_server().test(body={"x": 1}) == '{"x": 1}'


@pytest.mark.parametrize(
    "arguments",
    [
        {"class_name": Scale(by=2)},
        {"handler": lambda body: body},
        {"class_name": Scale, "by": np.arange(2)},
        {"class_name": Scale, "by": {"deep": [json.dumps]}},
        {"class_name": Scale, "by": {1: "one"}},
        {"class_name": Scale, "key": b"bytes"},
        {"class_name": Scale, "key": Text("x")},
    ],
)
def test_what_has_no_name_is_refused_with_the_step_and_pickled_when_asked_for(arguments):
    function = millrace.new_function("f")
    function.set_topology("flow").to(name="odd", **arguments)
    with pytest.raises(GraphError, match=r"step 'odd' holds .*to_yaml\(pickle=True\).*trusted=True"):
        function.to_yaml()
    with pytest.raises(UntrustedPickle, match="step 'odd' holds a pickled object"):
        ServingFunction.from_dict(load_yaml(function.to_yaml(pickle=True), source="text"))
    assert again(function, pickle=True).graph["odd"] is not None


def test_an_initialised_object_keeps_its_state_through_a_pickle():
    class Local(Scale):
        pass

    function = millrace.new_function("f")
    function.set_topology("flow").to(Local(by=21), name="x").respond()
    assert again(function, pickle=True).to_mock_server().test(body=2) == 42


def test_a_damaged_pickle_is_an_error_that_names_the_step():
    for text in ("???", "aGVsbG8="):
        with pytest.raises(SpecError, match="step 'x': the pickled object"):
            from_dict({"class_name": {"$pickle": text}}, name="x", trusted=True)


def test_numbers_of_numpy_and_paths_are_written_as_what_they_are():
    graph = FlowStep()
    graph.to(Scale, name="x", by=np.float64(0.25), key=Path("/tmp/m"))
    assert to_dict(graph)["steps"]["x"]["class_args"] == {"by": 0.25, "key": "/tmp/m"}


# -- what MLRun writes ---------------------------------------------------------------------------------------------

MLRUN = """
kind: serving
metadata: {name: advanced, project: demo, tag: latest, hash: 0ff1ce, updated: 2024-10-23T00:00:00}
spec:
  command: ''
  args: []
  image: mlrun/mlrun
  function_kind: serving_v2
  disable_auto_mount: false
  env: [{name: LEVEL, value: '3'}]
  build: {commands: [], code_origin: http://example.com, origin_filename: ''}
  parameters: {log_level: info}
  load_mode: sync
  graph:
    engine: async
    on_error: catcher
    model_endpoints_routes_names: []
    steps:
      final: {kind: task, handler: '(event + [1])', after: [enrich, retry], responder: true, endpoint_type: 3}
      enrich: {class_name: storey.Map, class_args: {_fn: '(event)'}, after: pre, cycle_from: [], full_event: null}
      pre: {kind: task, handler: (event), after: [], on_error: catcher}
      retry: {kind: error_step, handler: '(["caught"])', before: [], after: [], base_step: enrich, on_error: null}
      catcher: {kind: error_step, handler: '(["caught"])', before: final, after: []}
"""


def test_the_layout_that_mlrun_writes_is_read():
    with pytest.warns(UserWarning, match="does nothing in Millrace"):
        function = ServingFunction.from_dict(load_yaml(MLRUN, source="f.yaml"))
    graph = function.graph
    assert (function.name, function.spec.env) == ("advanced", {"LEVEL": "3"})
    assert function.spec.parameters == {"log_level": "info"}
    assert (graph["enrich"].after, graph.on_error) == (["pre"], "catcher")
    assert graph["final"].after == ["enrich", "retry", "catcher"]


def test_the_layout_of_mlruns_queues_routers_and_roots_is_read():
    graph = root_from_dict({
        "kind": "root",
        "steps": {
            "r": {"kind": "router", "routes": {"m1": {"class_name": "M", "class_args": {"model_path": "x"}}}},
            "q": {"kind": "queue", "path": "p", "after": "r", "options": {"group": "g", "full_event": True}},
        },
    })  # fmt: skip
    assert (graph["r/m1"].class_args, graph["q"].full_event) == ({"model_path": "x"}, True)
    assert (graph["q"].path, graph["q"].backend, graph["q"].after) == ("p", {"group": "g"}, ["r"])


def test_reading_a_spec_does_not_change_it():
    spec = {"kind": "queue", "path": "p", "options": {"group": "g", "full_event": True}}
    before = json.dumps(spec)
    from_dict(spec, name="q")
    assert json.dumps(spec) == before


def test_before_of_an_error_step_that_names_nothing_is_found():
    with pytest.raises(UnknownStep, match="before of step 'c' names 'x'"):
        root_from_dict({"steps": {"c": {"kind": "error_step", "handler": "h", "before": ["x"]}}})


# -- bad specs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"handlr": "x"}, "step 'x' has an unknown key 'handlr'; did you mean 'handler'"),
        ({"kind": "taks"}, "step 'x' is of unknown kind 'taks'; did you mean 'task'"),
        ({"kind": "queue", "shard": 2}, "did you mean 'shards'"),
        ({"options": {"retry": 2}}, "there is no step option 'retry'; did you mean 'retries'"),
        ({"kind": ["task"]}, "is of unknown kind"),
        ({"options": {"retries": -1}}, "retries=-1 must be a whole number of 0 or more"),
        ({"class_args": [1]}, r"step 'x': class_args must be a mapping, not \[1\]"),
        ({"after": [1]}, "step 'x': after must be a list of names"),
        ({"responder": "yes"}, "step 'x': responder must be true or false"),
        ({"function": 3}, "step 'x': function must be a text"),
        ({"kind": "flow", "steps": ["a"]}, "steps must be a mapping of names to steps"),
        ({"kind": "flow", "engine": "asnyc"}, "neither 'async' nor 'sync'"),
        ({"kind": "flow", "steps": {"a/b": {}}}, "a step's name is a text without '/'"),
        ({"kind": "flow", "steps": {1: {}}}, "a step's name is a text without '/'"),
        ({"kind": "router", "routes": {"m": 5}}, "step 'm' must be a mapping, not int"),
        ([], "step 'x' must be a mapping, not list"),
    ],
)
def test_a_spec_with_a_fault_is_refused_with_the_step_and_the_key(step, words):
    with pytest.raises(GraphError, match=words):
        from_dict(step, name="x")


def test_a_step_is_no_graph():
    with pytest.raises(SpecError, match="a graph is a flow or a router, not a task"):
        root_from_dict({"handler": "(event)"})


def test_two_steps_of_one_name_in_yaml_are_refused_with_the_line():
    with pytest.raises(SpecError, match=r"f.yaml, line 3: .*'a' is there twice"):
        load_yaml("steps:\n  a: {}\n  a: {}\n", source="f.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [1", "line 2: not YAML"), ("- 1", "a function is a mapping"), ("x: !!python/name:os.x 1", "YAML")],
)
def test_a_text_that_is_no_function_is_refused(text, words):
    with pytest.raises(SpecError, match=words):
        load_yaml(text, source="f.yaml")


def test_before_of_a_catcher_that_names_nothing_yet_is_not_lost_in_the_text():
    graph = FlowStep()
    graph.to(name="a", handler="(event)").error_handler(name="fix", handler="(event)", before="later")
    with pytest.raises(UnknownStep, match="before of step 'fix' names 'later'"):
        root_from_dict(to_dict(graph))
