"""V2ModelServer through a mock server: hooks, operations, parameters, versions and where a model runs."""

import os
import threading
from typing import Any

import numpy as np
import orjson
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import millrace
from millrace.errors import BadStepArguments, Conflict, RequestFailed
from millrace.serving import V2ModelServer


def served(class_name: Any, key: str = "m1", **arguments: Any) -> millrace.serving.MockServer:
    """A router with one model."""
    function = millrace.new_function("models", kind="serving")
    function.set_topology("router")
    function.add_model(key, class_name=class_name, **arguments)
    return function.to_mock_server()


class Times(V2ModelServer):
    """Multiplies by its parameter `factor`."""

    def load(self):
        self.model = self.get_param("factor", 2)

    def predict(self, request):
        return [self.model * x for x in request["inputs"]]


def infer(server: Any, inputs: Any, op: str = "infer") -> Any:
    return server.test(f"/v2/models/m1/{op}", {"inputs": inputs})["outputs"]


@pytest.mark.parametrize("estimator", [LogisticRegression(max_iter=500), DecisionTreeClassifier(random_state=0)])
def test_a_real_classifier_answers_as_scikit_learn_does(estimator):
    rows, species = load_iris(return_X_y=True)
    model = estimator.fit(rows, species)

    class Classifier(V2ModelServer):
        def predict(self, request):
            return self.model.predict(np.asarray(request["inputs"])).tolist()

    with served(Classifier, model=model) as server:
        assert infer(server, rows.tolist()) == model.predict(rows).tolist()


def test_a_real_regression_answers_as_scikit_learn_does():
    rows, progression = load_diabetes(return_X_y=True)
    model = LinearRegression().fit(rows, progression)

    class Regression(V2ModelServer):
        def predict(self, request):
            return self.model.predict(np.asarray(request["inputs"])).tolist()

    with served(Regression, model=model) as server:
        assert infer(server, rows.tolist()) == model.predict(rows).tolist()


def test_the_answer_has_mlruns_fields():
    answer = served(Times).test("/v2/models/m1/infer", {"inputs": [5], "id": "abc"})
    assert answer.pop("timestamp").endswith("+00:00")
    assert answer == {"id": "abc", "model_name": "m1", "outputs": [10]}


def test_the_events_id_is_the_answers_where_the_request_has_none():
    assert served(Times).test("/v2/models/m1/infer", {"inputs": [5]}, event_id="e7")["id"] == "e7"


@pytest.mark.parametrize("path", ["/v2/models/m1/infer", "/v2/models/m1/predict", "/v2/models/m1", "/"])
def test_a_post_without_an_operation_infers(path):
    assert served(Times).test(path, {"inputs": [5]})["outputs"] == [10]


class Everything(V2ModelServer):
    """Says in its outputs which hooks it went through."""

    def load(self):
        self.model = ["load"]

    def preprocess(self, request, operation):
        return {**request, "seen": [*self.model, f"preprocess {operation}"]}

    def validate(self, request, operation):
        super().validate(request, operation)
        return {**request, "seen": [*request["seen"], f"validate {operation}"]}

    def predict(self, request):
        return [*request["seen"], "predict"]

    def explain(self, request):
        return [*request["seen"], "explain"]

    def postprocess(self, response):
        return {**response, "outputs": [*response["outputs"], "postprocess"]}

    def op_labels(self, event):
        return ["setosa", event.method]


def in_coroutine(name: str) -> Any:
    """The hook of `Everything` as an ``async def``."""

    async def hook(self, *args):
        return getattr(Everything, name)(self, *args)

    return hook


ALL_HOOKS = ("load", "preprocess", "validate", "predict", "explain", "postprocess", "op_labels")


@pytest.mark.parametrize("awaited", [(), *((name,) for name in ALL_HOOKS), ALL_HOOKS], ids="+".join)
def test_hooks_run_in_order_whichever_of_them_are_async(awaited):
    server = served(type("Mixed", (Everything,), {name: in_coroutine(name) for name in awaited}))
    through = ["load", "preprocess infer", "validate infer", "predict", "postprocess"]
    assert infer(server, [1]) == through
    assert infer(server, [1], "explain")[-2:] == ["explain", "postprocess"]
    assert server.test("/v2/models/m1/labels", method="GET") == ["setosa", "GET"]
    assert server.test("/v2/models/m1/ready", method="GET") == {"name": "m1", "ready": True}


def test_an_explanation_has_no_timestamp():
    assert set(served(Everything).test("/v2/models/m1/explain", {"inputs": [1]})) == {"id", "model_name", "outputs"}


@pytest.mark.parametrize("hook", ["preprocess", "validate"])
def test_what_preprocess_and_validate_raise_is_the_clients_fault(hook):
    def refuse(self, request, operation):
        raise KeyError("age")

    server = served(type("Refusing", (Times,), {hook: refuse}))
    response = server.test("/v2/models/m1/infer", {"inputs": [1]}, silent=True)
    assert response.status_code == 422
    assert b"model 'm1': KeyError: 'age'" in response.body


def test_preprocess_may_make_the_inputs_of_a_body_that_has_none():
    class Texts(Times):
        def preprocess(self, request, operation):
            return {"inputs": [len(word) for word in request["text"].split()]}

    assert served(Texts).test("/v2/models/m1/infer", {"text": "four by two"})["outputs"] == [8, 4, 6]


def test_a_model_with_its_own_validate_decides_what_a_request_is():
    class Anything(V2ModelServer):
        def load(self):
            self.model = True

        def validate(self, request, operation):
            return request

        def predict(self, request):
            return sorted(request)

    assert served(Anything).test("/v2/models/m1/infer", {"b": 1, "a": 2})["outputs"] == ["a", "b"]


def test_a_parameter_is_the_models_then_the_functions_then_the_default():
    class Parameters(Times):
        def predict(self, request):
            return [self.get_param(key, "default") for key in request["inputs"]]

    function = millrace.new_function("models", kind="serving").with_parameters(a="function", b="function")
    function.set_topology("router")
    function.add_model("m1", class_name=Parameters, a="model")
    assert infer(function.to_mock_server(), ["a", "b", "c"]) == ["model", "function", "default"]


@pytest.mark.parametrize("op", ["infer_dict", "predict_dict"])
def test_rows_as_dicts_are_put_in_the_order_of_the_features(op):
    class Rows(Times):
        def predict(self, request):
            return request["inputs"]

    server = served(Rows, features=["age", "height"])
    assert infer(server, [{"height": 180, "age": 41}, {"age": 7, "height": 120}], op) == [[41, 180], [7, 120]]
    assert infer(server, {"height": 180, "age": 41}, op) == [[41, 180]]
    refused = server.test(f"/v2/models/m1/{op}", {"inputs": [{"hight": 180, "age": 41}]}, silent=True)
    assert refused.status_code == 422
    assert b"no feature 'height'; did you mean 'hight'?" in refused.body


def test_infer_dict_without_features_is_refused():
    response = served(Times).test("/v2/models/m1/infer_dict", {"inputs": [{"a": 1}]}, silent=True)
    assert response.status_code == 400
    assert b"features=" in response.body


def test_versions_are_routes_of_their_own():
    function = millrace.new_function("models", kind="serving")
    function.set_topology("router")
    for version, factor in ((1, 10), (2, 20)):
        function.add_model(f"m1:{version}", class_name=Times, factor=factor)
    server = function.to_mock_server()
    answer = server.test("/v2/models/m1/versions/2/infer", {"inputs": [1]})
    assert (answer["outputs"], answer["model_name"], answer["model_version"]) == ([20], "m1", "2")
    assert server.test("/v2/models/m1:1/infer", {"inputs": [1]})["outputs"] == [10]
    assert server.test("/v2/models/m1/versions/1")["versions"] == ["1"]


@pytest.mark.parametrize("execution", ["inline", "thread", "process"])
def test_a_model_answers_the_same_wherever_it_runs(execution):
    with served(Times, execution=execution, factor=3) as server:
        assert infer(server, [5]) == [15]
        assert server.test("/v2/models/m1/ready") == {"name": "m1", "ready": True}
        assert server.test("/v2/models/m1", {"inputs": []}, silent=True).status_code == 422


def test_a_model_that_kills_its_process_fails_one_request_only():
    class Fragile(Times):
        def predict(self, request):
            if request["inputs"] == ["die"]:
                os._exit(3)
            return request["inputs"]

    with served(Fragile, execution="process") as server:
        response = server.test("/v2/models/m1/infer", {"inputs": ["die"]}, silent=True)
        assert response.status_code == 500
        assert b"router/m1" in response.body and b"exit code 3" in response.body
        assert infer(server, ["live"]) == ["live"]


def test_a_model_over_its_time_limit_gets_504_and_the_next_request_is_served():
    released = threading.Event()

    class Slow(Times):
        def predict(self, request):
            if request["inputs"] == ["wait"]:
                released.wait(20)
            return request["inputs"]

    with served(Slow, timeout_seconds=0.2) as server:
        assert server.test("/v2/models/m1/infer", {"inputs": ["wait"]}, silent=True).status_code == 504
        assert infer(server, ["next"]) == ["next"]
        released.set()


def test_an_exception_in_predict_names_the_models_step_and_the_next_request_is_served():
    class Divides(Times):
        def predict(self, request):
            return [1 / x for x in request["inputs"]]

    server = served(Divides)
    response = server.test("/v2/models/m1/infer", {"inputs": [0]}, silent=True)
    assert response.status_code == 500
    assert b"step 'router/m1' of graph 'models' failed: ZeroDivisionError" in response.body
    with pytest.raises(RequestFailed) as caught:
        server.test("/v2/models/m1/infer", {"inputs": [0]})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert infer(server, [4]) == [0.25]


def test_predict_chooses_its_status_with_an_error_or_a_response():
    class Chooses(Times):
        def predict(self, request):
            if request["inputs"] == ["response"]:
                return self.context.Response(body="teapot", status_code=418)
            raise Conflict("taken")

    server = served(Chooses)
    assert server.test("/v2/models/m1/infer", {"inputs": ["response"]}, silent=True).status_code == 418
    assert server.test("/v2/models/m1/infer", {"inputs": ["error"]}, silent=True).status_code == 409


def test_a_subclass_may_override_do_event():
    class Wrapped(Times):
        def do_event(self, event, *args, **kwargs):
            event.body = {"inputs": [x + 1 for x in event.body["inputs"]]}
            event = super().do_event(event)
            event.body["wrapped"] = True
            return event

    answer = served(Wrapped).test("/v2/models/m1/infer", {"inputs": [1]})
    assert (answer["outputs"], answer["wrapped"]) == ([4], True)


@pytest.mark.parametrize("is_async", [True, False])
def test_do_event_may_be_overridden_where_predict_is_async(is_async):
    class Awaited(Times):
        async def predict(self, request):
            return ["awaited"]

    class Plain(Awaited):
        def do_event(self, event, *args, **kwargs):
            return super().do_event(event)

    class Async(Awaited):
        async def do_event(self, event, *args, **kwargs):
            return await super().do_event(event)

    assert infer(served(Async if is_async else Plain), [1]) == ["awaited"]


class PassesAllOn(Times):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.own = "set"


class NamesItsOwn(Times):
    def __init__(self, context, name, model_path=None, **kw):
        super().__init__(context, name, model_path, **kw)
        self.own = "set"


class HasOneMore(Times):
    def __init__(self, context=None, name=None, model_path=None, model=None, own="default", **class_args):
        super().__init__(context, name, model_path, model, **class_args)
        self.own = own


@pytest.mark.parametrize("class_name", [PassesAllOn, NamesItsOwn, HasOneMore])
def test_constructors_as_mlruns_users_write_them_work(class_name):
    server = served(class_name, model_path="some/where", factor=7)
    model = server.engine.plan.objects["router/m1"]
    assert infer(server, [1]) == [7]
    assert (model.name, model.model_path) == ("m1", "some/where")
    assert model.own == ("default" if class_name is HasOneMore else "set")


def test_a_misspelt_option_of_a_model_without_kwargs_is_refused():
    class Strict(V2ModelServer):
        def __init__(self, context, name, factor):
            super().__init__(context, name, model=factor)

    with pytest.raises(BadStepArguments, match="no parameter 'facter'; did you mean 'factor'"):
        served(Strict, facter=3)


@pytest.mark.parametrize("engine", ["sync", "async"])
@pytest.mark.parametrize("path", ["/", "/v2/models/m1/infer", "/v2/models/other/infer", "/anything"])
def test_a_model_is_a_step_of_a_flow_without_a_router(engine, path):
    function = millrace.new_function("flow", kind="serving")
    graph = function.set_topology("flow", engine=engine)
    graph.to(name="pre", handler=lambda rows: {"inputs": rows}).to(Times, name="m1").respond()
    with function.to_mock_server() as server:
        assert server.test(path, [5])["outputs"] == [10]


def test_an_operation_in_the_body_counts_only_without_a_path():
    server = served(Everything)
    assert server.test("/", {"inputs": [1], "operation": "explain"})["outputs"][-2] == "explain"
    assert server.test("/v2/models/m1/infer", {"inputs": [1], "operation": "explain"})["outputs"][-2] == "predict"
    assert server.test("/v2/models/m1", {"inputs": [1], "operation": "labels"})["outputs"][-2] == "predict"


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/v2/models/m11/infer", 404, "model 'm11' does not exist, available models: m1; did you mean 'm1'?"),
        ("/v2/models/m1/versions/9/infer", 404, "model 'm1:9' does not exist"),
        ("/v2/models/m1/infr", 404, "no operation 'infr'"),
        ("/v2/models/m1/infr", 404, "did you mean 'infer'"),
        ("/v2/models/m1/explain", 404, "no operation 'explain', available: infer, predict, ready"),
        ("/v2/modells/m1/infer", 404, "paths of models begin with /v2/models/"),
    ],
)
def test_what_does_not_exist_is_404_with_near_names(path, status, text):
    response = served(Times).test(path, {"inputs": [1]}, silent=True)
    assert response.status_code == status
    assert text in orjson.loads(response.body)["error"]


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD"])
@pytest.mark.parametrize("op", ["infer", "predict", "explain", "infer_dict"])
def test_inference_takes_post_only(method, op):
    response = served(Everything).test(f"/v2/models/m1/{op}", {"inputs": [1]}, method=method, silent=True)
    assert response.status_code == 405


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"inputs": [1', 400), (b"[1, 2]", 400), (b"5", 400), ({}, 422), ({"inputs": []}, 422),
        ({"inputs": None}, 422), ({"inputs": 5}, 422), ({"inputs": "text"}, 422), ({"inputs": {"a": 1}}, 422),
        ({"outputs": [1]}, 422),
    ],
    ids=str,
)  # fmt: skip
def test_bodies_that_are_no_request_are_refused_and_the_next_is_served(body, status):
    server = served(Times)
    response = server.test("/v2/models/m1/infer", body, content_type="application/json", silent=True)
    assert response.status_code == status
    assert infer(server, [1]) == [2]


@pytest.mark.parametrize("body", [{"operation": ["infer"]}, {"operation": {}}, {"model": [1]}, {"model": 5}], ids=str)
def test_an_operation_or_a_model_that_is_no_name_is_refused(body):
    assert served(Times).test("/", {"inputs": [1], **body}, silent=True).status_code == 400


def test_metadata_tells_what_the_model_declares():
    inputs = [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    metadata = served(Times, inputs=inputs).test("/v2/models/m1", method="GET")
    assert metadata == {"name": "m1", "platform": "millrace", "inputs": inputs, "outputs": []}


def test_paths_into_the_body_are_read_and_written():
    server = served(Times, input_path="request.data", result_path="answer")
    answer = server.test("/v2/models/m1/infer", {"request": {"data": {"inputs": [4]}}, "kept": 1})
    assert (answer["answer"]["outputs"], answer["kept"]) == ([8], 1)
