"""Functions are made, given a graph, run, written and copied."""

import logging
from pathlib import Path

import pytest

import millrace
from millrace.errors import GraphError, SpecError
from millrace.serving import FlowStep, RouterStep, ServingFunction


class Model(millrace.serving.V2ModelServer):
    def load(self):
        self.model = self.get_param("by", 1)

    def predict(self, body):
        return [one * self.model for one in body["inputs"]]


def infer(function, model, inputs):
    with function.to_mock_server() as server:
        return server.test(f"/v2/models/{model}/infer", {"inputs": inputs})["outputs"]


# -- set_topology --------------------------------------------------------------------------------------------------


def test_the_topology_is_a_router_unless_a_flow_is_asked_for():
    assert isinstance(millrace.new_function("f").set_topology(), RouterStep)
    assert isinstance(millrace.new_function("f").set_topology("router"), RouterStep)
    flow = millrace.new_function("f").set_topology("flow", max_iterations=5, max_in_flight=7)
    assert isinstance(flow, FlowStep)
    assert (flow.engine, flow.max_iterations, flow.max_in_flight) == ("async", 5, 7)


def test_a_second_topology_needs_exist_ok_and_begins_a_new_graph():
    function = millrace.new_function("f")
    function.set_topology("flow").to(name="a", handler="(event)")
    with pytest.raises(GraphError, match="function 'f' has a graph already; exist_ok=True begins a new one"):
        function.set_topology("flow")
    assert list(function.set_topology("flow", exist_ok=True)) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("flwo",), "unsupported topology 'flwo', use 'router' or 'flow'; did you mean 'flow'"),
        (("flow", "My"), "a flow takes no 'class_name'"),
        ({"topology": "flow", "engin": "sync"}, "a flow takes no 'engin'; did you mean 'engine'"),
        ({"topology": "flow", "engine": "asnyc"}, "engine='asnyc'"),
        ({"topology": "router", "allow_cyclic": True}, "a router has no cycles"),
        ({"topology": "flow", "max_in_flight": 0}, "max_in_flight=0"),
    ],
)
def test_a_topology_that_makes_no_sense_is_refused(arguments, words):
    function = millrace.new_function("f")
    with pytest.raises(GraphError, match=words):
        function.set_topology(**arguments) if isinstance(arguments, dict) else function.set_topology(*arguments)


def test_a_function_without_graph_says_how_to_get_one():
    with pytest.raises(GraphError, match=r"function 'f': no models or steps were set, use function\.set_topology"):
        millrace.new_function("f").to_mock_server()


def test_errors_of_a_graph_name_the_function():
    function = millrace.new_function("my_shop")
    function.set_topology("flow").to(name="a", handler="(event)").after_step("b")
    with pytest.raises(GraphError, match="graph 'my-shop': after of step 'a' names 'b'"):
        function.validate()


class Picky:
    def __init__(self, by):
        raise AssertionError("validate() makes no objects")

    def do(self, body):
        return body


def test_validate_finds_all_faults_of_graph_names_and_parameters_and_makes_nothing():
    function = millrace.new_function("f")
    graph = function.set_topology("flow")
    graph.to("Pickyy", name="a").to(Picky, name="b", bye=1).to(Picky, name="c", by=1).after_step("d")
    with pytest.raises(GraphError, match="after of step 'c' names 'd'") as caught:
        function.validate()
    names, arguments = caught.value.__notes__
    assert "step 'a': nothing is named 'Pickyy'" in names and "did you mean 'Picky'" in names
    assert "step 'b': Picky has no parameter 'bye'; did you mean 'by'?" in arguments


def test_validate_looks_names_up_in_the_namespace_given():
    function = millrace.new_function("f")
    function.set_topology("router").add_route("m1", class_name="Elsewhere", by=1)
    function.validate({"Elsewhere": Picky})
    with pytest.raises(GraphError, match="step 'router/m1': nothing is named 'Elsewhere'"):
        function.validate({})


@pytest.mark.parametrize(
    "step", [{"class_name": "storey.Batch", "max_events": 2}, {"class_name": "storey.FlatMap", "_fn": "(event)"}]
)
def test_validate_knows_what_the_sync_engine_does_not_run(step):
    function = millrace.new_function("f")
    function.set_topology("flow", engine="sync").to(name="x", **step)
    with pytest.raises(GraphError, match=r"step 'x' .*use engine='async'"):
        function.validate()


# -- models and routes ---------------------------------------------------------------------------------------------


def test_add_model_makes_a_router_where_there_is_no_graph():
    function = millrace.new_function("f")
    assert function.add_model("m1", class_name=Model, by=3).name == "m1"
    assert infer(function, "m1", [1, 2]) == [3, 6]


def test_a_model_that_is_added_again_replaces_the_first_and_the_log_says_so(caplog):
    function = millrace.new_function("f")
    function.add_model("m1", class_name=Model, by=3)
    with caplog.at_level(logging.WARNING):
        function.add_model("m1", class_name=Model, by=4)
    assert infer(function, "m1", [1]) == [4]
    assert "route 'm1' is replaced" in caplog.text


def test_the_default_class_is_that_of_models_which_name_none():
    function = millrace.new_function("f")
    function.spec.default_class = Model
    function.add_model("m1", "path.pkl", by=2)
    assert function.graph["m1"].class_args == {"by": 2, "model_path": "path.pkl"}
    with pytest.raises(GraphError, match="model 'm1': give class_name="):
        millrace.new_function("g").add_model("m1", "path.pkl")


def test_a_model_behind_a_url_is_a_step_that_asks_it_with_all_its_settings():
    function = millrace.new_function("f")
    route = function.add_model("m1", model_url="http://127.0.0.1:1/v2", timeout=3)
    assert route.class_name == "millrace.steps.RemoteStep"
    assert route.class_args == {"url": "http://127.0.0.1:1/v2", "timeout": 3}


def test_a_model_of_a_flow_goes_to_its_router_or_to_the_one_that_is_named():
    function = millrace.new_function("f")
    graph = function.set_topology("flow")
    with pytest.raises(GraphError, match="the graph contains no router"):
        function.add_model("m1", class_name=Model)
    graph.to("*", name="one").respond()
    function.add_model("m1", class_name=Model)
    graph.add_flow("inner", after="one").to("*", name="two")
    with pytest.raises(GraphError, match=r"the graph has 2 routers; say which with router_step="):
        function.add_model("m2", class_name=Model)
    function.add_model("m2", class_name=Model, router_step="inner/two")
    assert (list(graph["one"]), list(graph["inner/two"])) == (["m1"], ["m2"])
    with pytest.raises(GraphError, match="step 'inner' is no router"):
        function.add_model("m3", class_name=Model, router_step="inner")


def test_add_route_and_remove_states():
    function = millrace.new_function("f")
    function.add_route("a", handler="(event)")
    function.add_route("b", Model)
    function.remove_states(["a"])
    assert list(function.graph) == ["b"]


# -- settings, unknown and inert arguments -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f: f.to_mock_server(namespce={}), "to_mock_server.* no parameter 'namespce'; did you mean 'namespace'"),
        (lambda f: f.invoke("/", boddy=1), "invoke.* no parameter 'boddy'; did you mean 'body'"),
        (lambda f: f.add_child_function("c", filename="x.py"), "no parameter 'filename'; did you mean 'name'"),
        (lambda f: f.with_secrets("env", sources="A"), "did you mean 'source'"),
    ],
)
def test_an_unknown_argument_is_refused_with_near_names(call, words):
    with pytest.raises(TypeError, match=words):
        call(millrace.new_function("f"))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda f: f.to_mock_server(track_models=True), "track_models"),
        (lambda f: f.to_mock_server(stream_profile="x"), "stream_profile"),
        (lambda f: f.invoke("/v2/models/r/infer", {}, mock=True, auth_info="x"), "auth_info"),
        (lambda f: f.add_model("m", class_name=Model, creation_strategy="inplace"), "creation_strategy"),
    ],
)
def test_arguments_that_do_nothing_here_are_accepted_with_a_warning_at_the_callers_line(call, name):
    function = millrace.new_function("f")
    function.add_route("r", handler="(event)")
    with pytest.warns(UserWarning) as caught:
        call(function)
    assert any(str(one.message) == f"{name}= does nothing in Millrace" for one in caught)
    assert {one.filename for one in caught} == {__file__}


def test_apply_lets_a_function_modify_it_and_returns_it():
    function = millrace.new_function("f")
    assert function.apply(lambda one: one.with_parameters(a=1)) is function
    assert function.set_env("LEVEL", 3).add_trigger("t", {"kind": "cron"}) is function
    assert (function.spec.parameters, function.spec.env, function.spec.triggers) == (
        {"a": 1}, {"LEVEL": "3"}, {"t": {"kind": "cron"}},
    )  # fmt: skip


def test_workdir_is_put_on_the_import_path(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [])
    (tmp_path / "from_workdir_only.py").write_text("def f(body):\n    return 'found'\n")
    function = millrace.new_function("f")
    function.set_topology("flow").to(name="x", handler="from_workdir_only.f").respond()
    assert function.to_mock_server(workdir=str(tmp_path)).test(body=1) == "found"


def test_a_graph_initializer_is_called_by_itself_or_by_name():
    called = []

    def prepare(server):
        called.append(server)

    for initializer in (prepare, "prepare"):
        function = millrace.new_function("f")
        function.spec.graph_initializer = initializer
        function.set_topology("flow").to(name="x", handler="(event)")
        function.to_mock_server()
    assert len(called) == 2


# -- invoke, copy, write -------------------------------------------------------------------------------------------


def test_invoke_asks_a_mock_server_and_sees_later_changes():
    function = millrace.new_function("f")
    function.add_model("m1", class_name="Model")
    assert function.invoke("/v2/models/m1/infer", {"inputs": [5]})["outputs"] == [5]
    function.add_model("m2", class_name=Model, by=2)
    assert function.invoke("/v2/models/m2/infer", {"inputs": [5]})["outputs"] == [10]
    function.with_parameters(by=3)
    assert function.invoke("/v2/models/m1/infer", body={"inputs": [5]}, method="POST")["outputs"] == [15]


def test_invoke_keeps_its_server_while_nothing_changes():
    class Counter:
        seen = 0

        def do(self, body):
            self.seen += 1
            return self.seen

    function = millrace.new_function("f")
    function.set_topology("flow").to(Counter, name="x").respond()
    assert [function.invoke(body=1) for _ in range(3)] == [1, 2, 3]


def test_a_copy_is_independent():
    function = millrace.new_function("f").with_parameters(a=[1])
    function.set_topology("flow").to(name="x", handler="(event)").respond()
    other = function.copy()
    other.spec.parameters["a"].append(2)
    other.graph["x"].to(name="y", handler="(event)")
    assert (function.spec.parameters, list(function.graph)) == ({"a": [1]}, ["x"])
    assert other.to_mock_server().test(body=7) == 7


def everything(tmp_path):
    code = tmp_path / "own.py"
    code.write_text("def f(body):\n    return body\n")
    function = millrace.new_function("all", project="p", tag="v1", command=str(code), image="i", requirements=["numpy"])
    function.metadata.labels = {"a": "b"}
    function.with_parameters(deep={"a": [1, None, 2.5]}).set_env("A", "1").add_trigger("t", {"kind": "cron"})
    spec = function.spec
    spec.load_mode, spec.default_class, spec.default_content_type = "async", Model, "text/plain"
    spec.error_stream, spec.data_hosts, spec.description = "log:///e", ["example.com"], "does all"
    spec.graph_initializer, spec.build.commands, spec.build.base_image = "own.prepare", ["apt"], "base"
    function.verbose = True
    queue = function.set_topology("flow").to(name="a", handler="f").to(">>", "q", path="x")
    queue.to(name="b", handler="g", function="c")
    function.add_child_function("c", str(code), "image", ["spacy"]).spec.build.commands = ["download"]
    return function


def test_everything_that_was_said_of_a_function_comes_back(tmp_path):
    function = everything(tmp_path)
    target = function.export(str(tmp_path / "function.yaml"))
    loaded = millrace.import_function(target)
    assert loaded.to_dict() == function.to_dict()
    assert vars(loaded.metadata) == vars(function.metadata)
    assert loaded.spec.functions["c"].spec.build.commands == ["download"]


def test_an_exported_function_names_its_code_relative_to_its_own_folder(tmp_path, monkeypatch):
    function = everything(tmp_path)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    function.spec.filename = "./own.py"
    text = Path(function.export("out/function.yaml")).read_text()
    assert str(tmp_path) not in text
    assert text.count("filename: ../own.py") == 2
    moved = (tmp_path / "out" / "function.yaml").rename(tmp_path / "function.yaml")
    moved.write_text(text.replace("../own.py", "own.py"))
    monkeypatch.chdir("/")
    assert millrace.import_function(str(moved)).spec.filename == str(tmp_path / "own.py")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "serving", "spce": {}}, "the function has an unknown key 'spce'; did you mean 'spec'"),
        ({"kind": "job"}, "functions of kind 'serving', not 'job'"),
        ({"metadata": {"nmae": "x"}}, "metadata has an unknown key 'nmae'; did you mean 'name'"),
        ({"spec": {"grpah": {}}}, "spec has an unknown key 'grpah'; did you mean 'graph'"),
        ({"spec": {"build": {"command": []}}}, "spec.build has an unknown key 'command'; did you mean 'commands'"),
        ({"spec": {"parameters": [1]}}, r"spec.parameters must be a mapping, not \[1\]"),
        ({"spec": {"load_mode": 5}}, "spec.load_mode must be a text, not 5"),
        ({"spec": {"triggers": {"http": True}}}, "spec.triggers: 'http' must be a mapping with its kind, not True"),
        ({"spec": {"functions": 5}}, "spec.functions must be a mapping of names to functions, not 5"),
        ({"spec": {"functions": {"child": 5}}}, "a function must be a mapping with kind, metadata and spec, not 5"),
        ({"spec": {"secret_sources": [{"kind": "inline", "names": 5}]}}, "names must be a list of names, not 5"),
        ({"metadata": {"name": 5}}, "metadata.name must be a text, not 5"),
        ({"spec": []}, "nothing"),
        ({"spec": [1]}, "spec must be a mapping, not list"),
        ({"spec": {"secret_sources": {}}}, "nothing"),
        ({"spec": {"secret_sources": {"a": 1}}}, "secret_sources is a list"),
        ({"spec": {"build": {"functionSourceCode": "eA=="}}}, "write it to a file"),
    ],
)
def test_a_function_in_plain_data_with_a_fault_is_refused(values, words):
    if words == "nothing":
        assert ServingFunction.from_dict(values).name == "function"
        return
    with pytest.raises(SpecError, match=words):
        ServingFunction.from_dict(values)


def test_a_parameter_that_yaml_can_not_say_is_named():
    function = millrace.new_function("f").with_parameters(good=1, odd=object())
    with pytest.raises(GraphError, match=r"spec\.parameters holds <object"):
        function.to_yaml()
