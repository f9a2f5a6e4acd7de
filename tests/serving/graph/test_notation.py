"""Every notation of a step means what it says, from the graph to the answer."""

import pytest

import millrace
from millrace.errors import BadStepArguments, GraphError


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
        ({"class_name": "storey.Filter", "_fun": "(event)"}, "Filter has no parameter 'fun'; did you mean 'fn'"),
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
