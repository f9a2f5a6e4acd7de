"""How a step's class is built and called: what it may ask for, and what it is told."""

import functools
import operator

import pytest

import millrace
from millrace.errors import BadStepArguments
from millrace.serving import GraphContext


def run(body, step, **arguments):
    function = millrace.new_function("shop")
    function.with_parameters(limit=3)
    function.set_topology("flow", **arguments.pop("flow", {})).to(**({"name": "x"} | step | arguments)).respond()
    with function.to_mock_server() as server:
        return server.test(body=body)


def test_a_constructor_gets_what_it_asks_for_by_name():
    class Asking:
        def __init__(self, context, name, input_path, result_path, full_event, graph_step, own=1):
            self.told = [type(context).__name__, name, input_path, result_path, full_event, graph_step.kind, own]

        def do(self, body):
            return self.told

    found = run({"a": 1}, {"class_name": Asking}, input_path="a", result_path="b")
    assert found["b"] == ["GraphContext", "x", "a", "b", None, "task", 1]


def test_a_class_that_takes_any_keyword_gets_its_arguments_context_and_name():
    class Any:
        def __init__(self, **kw):
            self.kw = kw

        def do(self, body):
            return sorted(self.kw), self.kw["context"].get_param("limit")

    assert run(1, {"class_name": Any}, own=1) == (["context", "name", "own"], 3)


def test_keywords_passed_on_to_a_base_class_are_checked_by_the_base():
    class Base:
        def __init__(self, by):
            self.by = by

        def do(self, body):
            return body * self.by

    class Child(Base):
        def __init__(self, extra=0, **kw):
            super().__init__(**kw)

    assert run(2, {"class_name": Child}, by=3) == 6
    with pytest.raises(BadStepArguments, match="Child has no parameter 'bye'; did you mean 'by'"):
        run(2, {"class_name": Child}, bye=3)


def test_a_class_without_a_constructor_needs_none():
    class Plain:
        def do(self, body):
            return body + 1

    assert run(1, {"class_name": Plain}) == 2


def test_an_argument_wins_over_what_would_be_injected():
    class Named:
        def __init__(self, name):
            self.name = name

        def do(self, body):
            return self.name

    assert run(1, {"class_name": millrace.serving.TaskStep(class_name=Named, class_args={"name": "mine"})}) == "mine"


@pytest.mark.parametrize("engine", ["sync", "async"])
@pytest.mark.parametrize("form", ["mode", "keywords", "default"])
def test_post_init_is_called_once_with_the_mode(engine, form):
    calls = []

    class Mode:
        def post_init(self, mode):
            calls.append(mode)

        def do(self, body):
            return calls

    class Keywords(Mode):
        def post_init(self, **kw):
            calls.append(kw["mode"])

    class Default(Mode):
        def post_init(self, mode="none", namespace=None, **kw):
            calls.append(mode)

    kind = {"mode": Mode, "keywords": Keywords, "default": Default}[form]
    assert run(1, {"class_name": kind}, flow={"engine": engine}) == [engine]


def test_post_init_may_take_nothing():
    class Silent:
        ready = False

        def post_init(self):
            self.ready = True

        def do(self, body):
            return self.ready

    assert run(1, {"class_name": Silent}) is True


def test_a_post_init_that_raises_names_the_step():
    class Broken:
        def post_init(self, mode):
            raise OSError("no model")

        def do(self, body):
            return body

    with pytest.raises(BadStepArguments, match="step 'x': post_init failed: OSError: no model"):
        run(1, {"class_name": Broken})


def test_an_initialised_object_gets_the_context_and_name_that_it_was_made_without():
    class Made:
        def __init__(self, context=None, name=None):
            self.context = context
            self.name = name

        def do(self, body):
            return [self.name, self.context.get_param("limit")]

    assert run(1, {"class_name": Made()}) == ["x", 3]
    assert run(1, {"class_name": Made(GraphContext(), "own")}) == ["own", 3]


def test_an_initialised_model_and_router_are_served():
    class Model(millrace.serving.V2ModelServer):
        def load(self):
            self.model = 2

        def predict(self, body):
            return [one * self.model * self.get_param("limit") for one in body["inputs"]]

    function = millrace.new_function("shop").with_parameters(limit=3)
    function.set_topology("router", millrace.serving.ModelRouter())
    function.add_model("m1", class_name=Model())
    with function.to_mock_server() as server:
        assert server.test("/v2/models/m1/infer", {"inputs": [1, 5]})["outputs"] == [6, 30]


def test_a_callable_object_is_a_step():
    class Adder:
        def __call__(self, body):
            return body + 1

    assert run(1, {"handler": Adder()}) == 2
    assert run(1, {"class_name": Adder()}) == 2


def test_a_class_without_a_method_for_events_is_refused():
    class Empty:
        pass

    with pytest.raises(millrace.errors.GraphError, match=r"step 'x': Empty has no method do\(body\)"):
        run(1, {"class_name": Empty})


def test_a_method_is_chosen_by_name():
    class Two:
        def first(self, body):
            return 1

        def second(self, body):
            return 2

    assert run(0, {"class_name": Two, "handler": "second"}) == 2


@pytest.mark.parametrize(("handler", "missing"), [
    (lambda a, b: a, "missing a required argument: 'b'"),
    (lambda: 1, "too many positional arguments"),
    (lambda *, by: by, "too many positional arguments"),
])  # fmt: skip
def test_a_handler_that_can_not_be_called_with_the_body_alone_is_refused_before_any_event(handler, missing):
    with pytest.raises(BadStepArguments, match=f"step 'x': <lambda>.* with one argument, the body: {missing}"):
        run(1, {"handler": handler})


def test_a_handler_that_needs_more_is_welcome_when_the_rest_has_values_already():
    assert run(2, {"handler": functools.partial(lambda body, by: body * by, by=3)}) == 6
    assert run(2, {"handler": lambda body, by=4: body * by}) == 8


def test_an_object_that_takes_no_name_is_a_step_without_one():
    function = millrace.new_function("f", kind="serving")
    function.set_topology("flow").to(operator.itemgetter("x")).respond()
    assert function.to_mock_server().test(body={"x": 5}) == 5
