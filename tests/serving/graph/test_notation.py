"""Every notation of a step means what it says, from the graph to the answer."""

import functools
import logging

import pytest

import millrace
from millrace.errors import BadStepArguments, GraphError
from millrace.serving import FlowStep, QueueStep, RouterStep, StepOptions, TaskStep


class Echo:
    """As in MLRun's documents."""

    def __init__(self, context, name=None, **kw):
        self.context = context
        self.name = name
        self.kw = kw

    def do(self, x):
        return [self.name, x, self.kw]


class PreProcess:
    def __init__(self, some_arg):
        self.some_arg = some_arg

    def do(self, event):
        return {**event, "some_arg": self.some_arg}


class ErrorCatch:
    def do_event(self, event):
        event.body = f"{event.origin_state}: {event.error}"
        return event


class Preprocessor:
    """As in the proposal of an API for initialised objects."""

    def __init__(self, param1):
        self.param1 = param1

    def do(self, event):
        return [value / self.param1 for value in event]


class Counter:
    seen = 0

    def do(self, body):
        self.seen += 1
        return self.seen


class Scale:
    def __init__(self, by):
        self.by = by

    def do(self, body):
        return body * self.by


def after(graph):
    return {name: graph[name].after for name in graph}


def double(body):
    return body * 2


def with_context(body, context):
    return context.get_param("factor") * body


def nuclio_handler(context, event):
    return [context.current_function, event]


def body_named_context(context):
    return context + 1


def full(event):
    event.body = [event.path, event.method, event.body]
    return event


def answer(body=None, path="/", parameters=None, **step):
    function = millrace.new_function("f")
    function.spec.parameters = parameters or {}
    function.set_topology("flow").to(**({"name": "x"} | step)).respond()
    with function.to_mock_server() as server:
        return server.test(path, body)


@pytest.mark.parametrize(
    ("step", "body", "expected"),
    [
        ({"class_name": "Echo", "some_arg": "abc"}, 1, ["x", 1, {"some_arg": "abc"}]),
        ({"class_name": Echo, "some_arg": "abc"}, 1, ["x", 1, {"some_arg": "abc"}]),
        ({"class_name": "PreProcess", "some_arg": "abc"}, {"a": 1}, {"a": 1, "some_arg": "abc"}),
        ({"class_name": Preprocessor(param1=2)}, [2, 4], [1, 2]),
        ({"class_name": "PreProcess", "handler": "do", "some_arg": 1}, {}, {"some_arg": 1}),
        ({"handler": "json.dumps"}, [1], "[1]"),
        ({"class_name": "json.dumps"}, [1], "[1]"),
        ({"handler": "double"}, 4, 8),
        ({"handler": double}, 4, 8),
        ({"class_name": double}, 4, 8),
        ({"handler": lambda body: -body}, 4, -4),
        ({"handler": "(event + 1)"}, 4, 5),
        ({"class_name": "storey.Extend", "_fn": '({"tag": "something"})'}, {"a": 1}, {"a": 1, "tag": "something"}),
        ({"class_name": "storey.Filter", "_fn": '(event["type"]=="infer")'}, {"type": "infer"}, {"type": "infer"}),
        ({"class_name": "storey.Filter", "_fn": '(event["type"]=="infer")'}, {"type": "other"}, None),
        ({"class_name": "storey.Map", "_fn": "double"}, 4, 8),
        ({"class_name": "millrace.steps.Map", "fn": double}, 4, 8),
        ({"class_name": "str.upper"}, "a text", "A TEXT"),
    ],
)
def test_a_notation_of_a_step_runs(step, body, expected):
    assert answer(body, **step) == expected


def test_a_function_that_asks_for_the_context_gets_it():
    assert answer(2, handler="with_context", parameters={"factor": 21}) == 42


def test_a_handler_in_nuclios_form_gets_context_and_body():
    assert answer(2, handler=nuclio_handler) == ["*", 2]


def test_the_only_parameter_is_the_body_whatever_its_name():
    assert answer(2, handler=body_named_context) == 3


def test_a_function_with_full_event_gets_the_event():
    assert answer(2, path="/a", handler=full, full_event=True) == ["/a", "POST", 2]


def test_do_event_gets_the_event_and_with_full_event_false_the_body():
    class Kind:
        def do_event(self, event):
            return event if isinstance(event, millrace.Event) else ["body", event]

    assert answer(2, class_name=Kind) == 2
    assert answer(2, class_name=Kind, full_event=False) == ["body", 2]


def test_an_initialised_object_keeps_its_state_from_event_to_event():
    counter = Counter()
    function = millrace.new_function("f")
    function.set_topology("flow").to(counter, name="x").respond()
    server = function.to_mock_server()
    assert [server.test(body=1) for _ in range(3)] == [1, 2, 3]
    assert counter.seen == 3


def test_the_advanced_example_of_the_documents_runs():
    function = millrace.new_function("advanced", kind="serving")
    graph = function.set_topology("flow", engine="async")
    graph.to(name="loads", handler="json.loads").error_handler("catcher").to(
        "storey.Filter", name="filter", _fn='(event["type"]=="infer")'
    ).to(class_name="PreProcess", name="pre-process", some_arg="abc").respond()
    graph.add_step(class_name="ErrorCatch", name="catcher", after="")
    with function.to_mock_server() as server:
        assert server.test(body='{"type": "infer"}', content_type="text/plain") == {"type": "infer", "some_arg": "abc"}
        assert server.test(body='{"type": "x"}', content_type="text/plain") is None
        assert server.test(body="{", content_type="text/plain").startswith("loads: Expecting")


def test_a_router_of_routers_and_flows_answers_by_path():
    function = millrace.new_function("f")
    router = function.set_topology("router")
    router.add_route("plain", class_name="Echo")
    router.add_route("inner", class_name="*").add_route("deep", class_name="Echo")
    with function.to_mock_server() as server:
        assert server.test("/v2/models/plain/infer", {"a": 1})[:2] == ["plain", {"a": 1}]
        assert server.test("/v2/models/inner/deep/infer", {"a": 1})[:2] == ["deep", {"a": 1}]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"class_name": "PreProcess", "some_agr": 1}, "no parameter 'some_agr'; did you mean 'some_arg'"),
        ({"class_name": PreProcess, "other": 1}, "PreProcess has no parameter 'other'; it has some_arg"),
        ({"class_name": ErrorCatch, "other": 1}, "ErrorCatch has no parameter 'other'; it takes none"),
        ({"class_name": PreProcess}, "PreProcess needs some_arg="),
        ({"handler": "double", "retrys": 1}, "no parameter 'retrys'.*did you mean 'retries'"),
        ({"handler": double, "resultpath": 1}, "did you mean 'result_path'"),
        ({"class_name": "storey.Filter", "_fun": "(event)"}, "Filter has no parameter '_fun'; did you mean '_fn'"),
        ({"class_name": "storey.Map", "_fn": "5"}, "nothing is named '5'"),
        ({"class_name": PreProcess, "some_arg": 1, "handler": "doo"}, "has no method 'doo'; did you mean 'do'"),
        ({"class_name": PreProcess, "some_arg": 1, "handler": double}, "handler= is the name of a method"),
        ({"class_name": "counted", "by": 1}, "the Counter is made already, it takes no 'by'"),
        ({"handler": "counted.seen"}, "the handler must be a function, not int"),
    ],
)
def test_a_fault_in_a_step_is_found_before_it_runs_and_names_the_step(step, words):
    function = millrace.new_function("f")
    function.set_topology("flow").to(name="faulty", **step)
    names = {"PreProcess": PreProcess, "double": double, "counted": Counter()}
    with pytest.raises(GraphError, match=f"step 'faulty'.*{words}"):
        function.to_mock_server(namespace=names)


def test_a_constructor_that_raises_names_the_step_and_keeps_the_error():
    class Broken:
        def __init__(self):
            raise OSError("no such disk")

    function = millrace.new_function("f")
    function.set_topology("flow").to(Broken, name="x")
    with pytest.raises(BadStepArguments, match="step 'x': Broken could not be made: OSError: no such disk") as caught:
        function.to_mock_server()
    assert isinstance(caught.value.__cause__, OSError)


# -- nested flows, routers, queues, objects ------------------------------------------------------------------------


def test_to_on_a_nested_flow_fills_it_first_and_then_follows_it():
    graph = FlowStep()
    inner = graph.add_flow("inner")
    inner.to(name="x", handler="(event)").to(name="y", handler="(event)")
    inner.to(name="next", handler="(event)")
    assert (list(inner), after(graph)) == (["x", "y"], {"inner": [], "next": ["inner"]})


def test_a_filled_flow_is_a_step_for_to_and_add_step():
    inner = FlowStep()
    inner.to(name="x", handler="(event)")
    graph = FlowStep()
    graph.to(name="a", handler="(event)").to(inner, "inner").to(name="b", handler="(event)")
    assert after(graph) == {"a": [], "inner": ["a"], "b": ["inner"]}
    assert graph["inner/x"].full_name == "inner/x"


def test_error_handler_of_a_nested_flow_means_its_own_step_or_one_around_it():
    graph = FlowStep()
    inner = graph.add_flow("inner").error_handler("outside")
    inner.to(name="x", handler="(event)")
    graph.add_step(name="outside", handler="(event)", after="")
    millrace.serving.graph.validate(graph)
    inner.error_handler(name="own", handler="(event)")
    del graph["outside"]
    millrace.serving.graph.validate(graph)
    assert list(inner) == ["x", "own"]


def test_a_star_makes_a_router_with_the_class_behind_it():
    graph = FlowStep()
    plain = graph.add_step("*", name="models")
    voting = plain.to("*mlrun.serving.VotingEnsemble", name="vote", weights={"m1": 1})
    assert isinstance(plain, RouterStep) and isinstance(voting, RouterStep)
    assert (plain.class_name, voting.class_name) == (None, "mlrun.serving.VotingEnsemble")
    assert voting.class_args == {"weights": {"m1": 1}}


def test_a_route_is_a_class_a_function_a_router_a_flow_or_a_finished_step():
    router = RouterStep(name="r")
    router.add_route("m1", class_name="Model", model_path="x")
    router.add_route("f", class_name=len)
    router.add_route("inner", class_name="*").add_route("m2", handler="(event)")
    router.add_route("flow", FlowStep()).to(name="x", handler="(event)")
    router.add_route("task", class_name=TaskStep(handler="(event)", full_event=True), function="child")
    assert [router[key].kind for key in router] == ["task", "task", "router", "flow", "task"]
    assert (router["f"].handler, router["task"].full_event, router["task"].function) == (len, True, "child")


def test_a_known_route_is_replaced_and_the_log_says_so(caplog):
    router = RouterStep(name="r")
    router.add_route("m1", class_name="Old")
    with caplog.at_level(logging.WARNING, "millrace"):
        router.add_route("m1", class_name="New")
    assert router["m1"].class_name == "New"
    assert "router 'r': route 'm1' is replaced" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "give route=, class_name= or handler="),
        ({"route": TaskStep(handler="(event)"), "by": 2}, "takes no further arguments"),
        ({"class_name": TaskStep(handler="(event)"), "by": 2}, "takes no handler or further arguments"),
        ({"route": "Model"}, "route= is a step, not a str"),
    ],
)
def test_a_route_that_is_not_well_described_names_router_and_route(arguments, words):
    with pytest.raises(GraphError, match=f"router 'r', route 'm1'.*{words}"):
        RouterStep(name="r").add_route("m1", **arguments)


@pytest.mark.parametrize("notation", [">>", "$queue"])
def test_a_queue_takes_the_settings_of_its_stream(notation):
    graph = FlowStep()
    queue = graph.to(
        notation, "q", path="users/admin/stream", shards=2, retention_in_hours=4, trigger_args={"ack": 1},
        group="mine", full_event=True,
    )  # fmt: skip
    assert isinstance(queue, QueueStep)
    assert (queue.path, queue.shards, queue.retention_in_hours) == ("users/admin/stream", 2, 4)
    assert (queue.trigger_args, queue.backend, queue.full_event) == ({"ack": 1}, {"group": "mine"}, True)


def test_a_queue_needs_a_name_and_refuses_what_it_does_not_have():
    with pytest.raises(GraphError, match="a queue needs a name"):
        FlowStep().to(">>", path="x")
    with pytest.raises(GraphError, match="queue 'q' has no parameter 'shard'; did you mean 'shards'"):
        FlowStep().to(">>", "q", shard=2)
    with pytest.raises(GraphError, match="queue 'q' takes no handler="):
        FlowStep().to(">>", "q", handler="(event)")


def test_remote_is_the_step_that_asks_an_http_server():
    step = FlowStep().to("$remote", name="ask", url="http://127.0.0.1:1")
    assert (step.class_name, step.class_args) == ("millrace.steps.RemoteStep", {"url": "http://127.0.0.1:1"})


def test_an_initialised_object_is_a_step_and_keeps_its_state():
    graph = FlowStep()
    made = Scale(by=2)
    assert graph.to(made).class_name is made
    assert list(graph) == ["Scale"]


def test_an_initialised_object_takes_options_but_no_arguments():
    graph = FlowStep()
    graph.to(Scale(by=2), name="a", retries=1)
    with pytest.raises(BadStepArguments, match="step 'b': the Scale is made already, it takes no 'by'"):
        graph.to(Scale(by=2), name="b", by=3)


def test_an_object_with_a_name_gives_it_to_its_step():
    graph = FlowStep()
    graph.to(millrace.steps.Map(len, name="length"))
    graph.to(functools.partial(int, base=2))
    assert list(graph) == ["length", "partial"]


def test_options_are_given_by_name_or_as_an_object():
    graph = FlowStep()
    step = graph.to(name="a", handler="(event)", options=StepOptions(retries=2))
    assert step.options.given() == {"retries": 2}


def test_arguments_that_only_mlrun_knows_warn_at_the_line_of_the_caller():
    with pytest.warns(UserWarning, match="model_endpoint_creation_strategy= does nothing") as caught:
        FlowStep().to(name="a", handler="(event)", model_endpoint_creation_strategy="inplace")
    assert caught[0].filename == __file__
