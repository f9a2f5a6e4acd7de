"""A function cut at its queues: which unit has which steps, code, models and packages, and in which order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import millrace
from millrace.serving.deploy.cut import cut, with_sources
from millrace.serving.deploy.target import Target
from millrace.serving.functions.function import ServingFunction
from millrace.serving.functions.text import load_yaml
from millrace.serving.functions.units import units_of

SHOP = str(Path(__file__).parent / "shop" / "orders.py")
BROKER = "kafka://broker.example.com:9092"


def shop():
    return millrace.import_function(SHOP)


def units(function=None, target="nuclio", *, pickle=False, **choices):
    """The units of a function, the shop's by default, by name; in order."""
    found = units_of(function or shop(), Target(name=target, **choices), pickle=pickle)
    return {unit.name: unit for unit in found}


def graph_of(unit):
    return load_yaml(unit.spec, source="unit")["spec"]["graph"]


def flow(name="f"):
    function = millrace.new_function(name)
    return function, function.set_topology("flow")


# -- order and cut -------------------------------------------------------------------------------------------------


def test_readers_are_deployed_before_the_functions_that_write_to_them():
    found = units()
    assert list(found) == ["orders-audit", "orders-billing", "orders"]
    assert [unit.after for unit in found.values()] == [
        (), ("shop-orders-audit",), ("shop-orders-audit", "shop-orders-billing"),
    ]  # fmt: skip


def test_each_function_has_its_own_steps_and_the_queues_that_they_touch():
    steps = {name: list(graph_of(unit)["steps"]) for name, unit in units().items()}
    assert steps == {
        "orders": ["price", "priced"],
        "orders-billing": ["price", "priced", "bill", "billed"],
        "orders-audit": ["bill", "billed", "audit"],
    }
    # What writes a queue elsewhere is only named, so that the queue is no start step.
    assert graph_of(units()["orders-billing"])["steps"]["price"] == {"kind": "task", "handler": "(event)"}


@pytest.mark.parametrize(
    ("file", "current", "body", "answer", "written"),
    [
        ("function-spec.yaml", "", {"pieces": 2}, {"pieces": 2, "total": 6}, {"priced": b'{"pieces":2,"total":6}'}),
        ("function-spec-billing.yaml", "billing", {"n": 1}, None, {"billed": b'{"n":1,"billed":true}'}),
    ],
)
def test_a_part_runs_from_its_own_files(file, current, body, answer, written, tmp_path):
    folder = shop().export("docker", str(tmp_path / "image"))
    part = ServingFunction.from_file(f"{folder}/{file}")
    with part.to_mock_server(namespace={}, current_function=current) as server:
        assert server.test(body=body) == answer or answer is None
        server.wait_for_completion()
        assert {name: server.queue(name).messages[0].value for name in written} == written


def test_functions_that_write_to_each_other_in_a_circle_are_deployed_as_they_were_added():
    function, graph = flow("ring")
    graph.to(">>", "a", path=f"{BROKER}/a")
    graph.add_step(name="one", handler="(event)", function="x", after="a")
    graph.add_step(">>", "b", path=f"{BROKER}/b", after="one")
    graph.add_step(name="two", handler="(event)", function="y", after="b")
    graph.add_step(">>", "back", path=f"{BROKER}/a", after="two")
    function.add_child_function("x")
    function.add_child_function("y")
    found = units(function)
    assert list(found)[-1] == "ring" and {"ring-x", "ring-y"} <= set(found)
    done = []
    for unit in found.values():
        assert set(unit.after) <= set(done)
        done.append(unit.full_name)


def test_a_catcher_of_steps_that_run_elsewhere_does_not_become_a_start_step():
    steps = {
        "q": {"kind": "queue"},
        "work": {"kind": "task", "function": "child", "after": ["q"], "on_error": "caught"},
        "caught": {"kind": "task"},
        "tell": {"kind": "task", "after": ["caught"]},
    }
    graph = {"kind": "flow", "steps": steps}
    assert list(cut(graph, "")["steps"]) == ["q"]
    assert cut(graph, "child")["steps"]["work"] == {"kind": "task", "function": "child", "after": ["q"]}


def test_a_nested_flow_is_cut_where_a_queue_is_inside_it():
    inner = {
        "kind": "flow", "after": ["first"],
        "steps": {"a": {"kind": "task"}, "q": {"kind": "queue", "after": ["a"]},
                  "b": {"kind": "task", "after": ["q"], "function": "child"}},
    }  # fmt: skip
    graph = {"kind": "flow", "steps": {"first": {"kind": "task"}, "inner": inner}}
    assert list(cut(graph, "")["steps"]["inner"]["steps"]) == ["a", "q"]
    child = cut(graph, "child")["steps"]
    assert list(child) == ["inner"] and "after" not in child["inner"]
    assert list(child["inner"]["steps"]) == ["q", "b"]


def test_a_function_that_only_ends_a_nested_flow_does_not_read_the_queue_before_it():
    inner = {
        "kind": "flow", "after": ["before"],
        "steps": {"a": {"kind": "task", "function": "one"}, "q": {"kind": "queue", "after": ["a"]},
                  "b": {"kind": "task", "after": ["q"], "function": "two"}},
    }  # fmt: skip
    graph = {"kind": "flow", "steps": {"before": {"kind": "queue"}, "inner": inner}}
    assert cut(graph, "two")["steps"] == {"inner": {"kind": "flow", "steps": {
        "q": {"kind": "queue"}, "b": {"kind": "task", "after": ["q"], "function": "two"}}}}  # fmt: skip
    assert list(cut(graph, "one")["steps"]) == ["before", "inner"]
    graph["steps"]["beside"] = {"kind": "task", "after": ["before"], "function": "two"}
    part = cut(graph, "two")
    assert list(part["steps"]) == ["before", "inner", "beside"] and "after" not in part["steps"]["inner"]
    whole = with_sources(part, graph, "two")["steps"]
    assert whole["inner"]["after"] == ["before-inner"] and whole["inner"]["steps"]["q"]["after"] == ["a"]


def test_a_router_is_one_function():
    function = millrace.new_function("models")
    function.add_route("m", handler="(event)")
    assert list(units(function)) == ["models"]
    assert list(graph_of(units(function)["models"])["routes"]) == ["m"]


# -- streams -------------------------------------------------------------------------------------------------------


def test_a_reader_has_a_group_of_its_own_named_after_it():
    (trigger,) = units()["orders-billing"].streams
    assert (trigger.group, trigger.stream.topic, trigger.stream.partitions) == (
        "orders-billing-consumer-group", "priced", 6,
    )  # fmt: skip
    assert graph_of(units()["orders-billing"])["steps"]["priced"]["backend"] == {"group": trigger.group}


def test_two_readers_of_one_queue_get_groups_of_their_own():
    function, graph = flow()
    graph.to(">>", "q", path=f"{BROKER}/q", group="mine")
    for child in ("a", "b"):
        graph.add_step(name=child, handler="(event)", function=child, after="q")
        function.add_child_function(child)
    assert {unit.streams[0].group for unit in units(function).values() if unit.child} == {"mine-a", "mine-b"}


@pytest.mark.parametrize(
    ("settings", "choices", "url"),
    [
        ({"path": "in", "kafka_brokers": "one:9092,two"}, {}, "kafka://one:9092,two:9092/in"),
        ({"path": "in", "kafka_bootstrap_servers": ["one", "two"]}, {}, "kafka://one:9092,two:9092/in"),
        ({"path": "in"}, {"streams": "kafka://other:9093"}, "kafka://other:9093/in"),
        ({}, {"streams": "kafka://other:9093/"}, "kafka://other:9093/q"),
        ({"path": "kafka://b/t?group=g"}, {}, "kafka://b:9092/t"),
        ({"path": "in"}, {"target": "compose"}, "kafka://kafka:9092/in"),
        ({"path": "kafka://localhost:9092/in"}, {"target": "compose"}, "kafka://kafka:9092/in"),
    ],
)
def test_addresses_are_made_complete(settings, choices, url):
    function, graph = flow()
    graph.to(">>", "q", **settings)
    (unit,) = units(function, **choices).values()
    assert unit.written == (url,)
    assert graph_of(unit)["steps"]["q"]["path"] == url


def test_a_group_in_an_address_is_the_readers():
    function, graph = flow()
    graph.to(">>", "q", path=f"{BROKER}/q?group=bills")
    graph.add_step(name="s", handler="(event)", function="c", after="q")
    function.add_child_function("c")
    assert units(function)["f-c"].streams[0].group == "bills"


def test_streams_of_triggers_feed_the_function_that_declares_them():
    function, graph = flow()
    graph.to(name="s", handler="(event)")
    function.add_trigger("orders", {"kind": "kafka-cluster", "maxWorkers": 3, "attributes": {
        "brokers": ["b:9092"], "topics": ["in"], "consumerGroup": "g", "initialOffset": "latest"}})  # fmt: skip
    (unit,) = units(function, "kubernetes").values()
    (trigger,) = unit.streams
    assert (trigger.stream.url, trigger.group) == ("kafka://b:9092/in", "g")
    assert (trigger.start, trigger.workers) == ("latest", 3)
    assert load_yaml(unit.spec, source="unit")["spec"]["triggers"]["orders"]["url"] == "kafka://b:9092/in"


def test_what_a_trigger_says_of_its_messages_goes_along():
    function, graph = flow()
    graph.to(name="s", handler="(event)")
    said = {"retries": 7, "on_failure": "skip", "ordering": "key", "content_type": "text/plain", "dead_letters": "bad"}
    function.add_trigger("orders", {"kind": "stream", "url": f"{BROKER}/in", "attributes": said})
    (unit,) = units(function, "kubernetes").values()
    written = load_yaml(unit.spec, source="unit")["spec"]["triggers"]["orders"]
    assert {name: written[name] for name in said} == said


# -- code, models, packages ----------------------------------------------------------------------------------------


def test_the_code_file_and_what_it_imports_beside_it_go_along():
    unit = units()["orders"]
    assert set(unit.files) == {"code/orders.py", "code/prices.py"}
    assert load_yaml(unit.spec, source="unit")["spec"]["filename"] == "code/orders.py"


def test_a_notebook_becomes_a_python_file(tmp_path):
    import nbformat

    cell = nbformat.v4.new_code_cell("!pip list\ndef double(x):\n    return 2 * x")
    book = nbformat.v4.new_notebook(cells=[cell])
    nbformat.write(book, str(tmp_path / "steps.ipynb"))
    function = millrace.code_to_function("f", filename=str(tmp_path / "steps.ipynb"), kind="serving")
    function.set_topology("flow").to(name="double", handler="double")
    (unit,) = units(function).values()
    assert unit.files["code/steps.py"] == "pass  # !pip list\ndef double(x):\n    return 2 * x\n"


def test_a_childs_own_file_goes_to_a_folder_of_its_own(tmp_path):
    (tmp_path / "steps.py").write_text("def work(x):\n    return x\n")
    function, graph = flow()
    graph.to(">>", "q", path=f"{BROKER}/q")
    graph.add_step(name="s", handler="work", function="c", after="q")
    function.spec.filename = SHOP
    function.add_child_function("c", url=str(tmp_path / "steps.py"))
    found = units(function)
    assert set(found["f"].files) == {"code/orders.py", "code/prices.py"}
    assert "code-c/steps.py" in found["f-c"].files
    children = load_yaml(found["f-c"].spec, source="unit")["spec"]["functions"]
    assert children["c"]["spec"] == {"filename": "code-c/steps.py"}


def test_a_model_on_this_machine_goes_along_and_its_step_is_told_where_it_is(tmp_path):
    (tmp_path / "m.pkl").write_bytes(b"model")
    function = millrace.new_function("models")
    function.add_model("m:v1", model_path=str(tmp_path / "m.pkl"), class_name="millrace.serving.V2ModelServer")
    (unit,) = units(function).values()
    ((place, file),) = unit.files.items()
    assert file == tmp_path / "m.pkl" and re.fullmatch(r"models/m_v1-\w{8}/m\.pkl", place)
    assert graph_of(unit)["routes"]["m:v1"]["class_args"]["model_path"] == f"/opt/nuclio/{place}"


@pytest.mark.parametrize("path", ["s3://models/m", "/mnt/models/m"])
def test_a_model_in_a_store_or_on_a_mount_stays_where_it_is(path):
    function = millrace.new_function("models")
    function.add_model("m", model_path=path, class_name="millrace.serving.V2ModelServer")
    (unit,) = units(function).values()
    assert unit.files == {} and graph_of(unit)["routes"]["m"]["class_args"]["model_path"] == path


def test_only_the_clients_that_the_graph_needs_are_installed():
    def requirement(path):
        function, graph = flow()
        graph.to(">>", "q", path=path) if path else graph.to(name="s", handler="(event)")
        function.set_env("V3IO_ACCESS_KEY", "of the platform")
        return next(iter(units(function).values())).requirements

    version = f"=={millrace.__version__}"
    assert requirement(None) == (f"millrace{version}",)
    assert requirement(f"{BROKER}/q") == (f"millrace[confluent]{version}",)
    assert requirement("v3io://api.example.com/bigdata/q") == (f"millrace[v3io]{version}",)


def test_an_object_is_pickled_only_when_asked_for():
    class Counts:
        def do(self, body):
            return body

    function, graph = flow()
    graph.to(Counts(), name="count")
    with pytest.raises(millrace.errors.GraphError, match="pickle=True"):
        units(function)
    (unit,) = units(function, pickle=True).values()
    assert unit.trusted and "$pickle" in graph_of(unit)["steps"]["count"]["class_name"]


def test_a_childs_requirement_replaces_its_parents_of_the_same_package():
    function, graph = flow()
    graph.to(">>", "q", path=f"{BROKER}/q").to(name="s", handler="(event)", function="c")
    function.with_requirements(["pandas==2.2.3", "requests"])
    function.add_child_function("c", requirements=["Pandas<2"])
    found = units(function)
    assert found["f"].requirements[1:] == ("pandas==2.2.3", "requests")
    assert found["f-c"].requirements[1:] == ("requests", "Pandas<2")
