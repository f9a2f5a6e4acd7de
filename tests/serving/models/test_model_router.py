"""Routers: the URLs of the reference, nesting, and custom routers as MLRun's users write them."""

from typing import Any

import orjson
import pytest

import millrace
from millrace.errors import GraphError
from millrace.serving import BaseModelRouter, ModelRouter, V2ModelServer


class Named(V2ModelServer):
    """Answers with its own name."""

    def predict(self, request):
        return [f"{self.name}{self.version}", *request["inputs"]]

    def op_where(self, event):
        return event.path


class NamedLater(Named):
    async def predict(self, request):
        return super().predict(request)


def served(class_name: Any = None, keys: Any = ("m1", "m2"), model: Any = Named, **arguments: Any) -> Any:
    """A router with models that need no loading."""
    function = millrace.new_function("models", kind="serving")
    function.set_topology("router", class_name, **arguments)
    for key in keys:
        function.add_model(key, class_name=model, model=True)
    return function.to_mock_server()


def outputs(server: Any, path: str, **fields: Any) -> Any:
    return server.test(path, {"inputs": [1], **fields})["outputs"]


@pytest.mark.parametrize(
    ("path", "fields", "expected"),
    [
        ("/v2/models/m2/infer", {}, "m2"),
        ("/v2/models/m2/infer/", {}, "m2"),
        ("/v2/models/m2", {}, "m2"),
        ("/v2/models/m2/versions/7/infer", {}, "m27"),
        ("/v2/models/m2/versions/7", {}, "m27"),
        ("/v2/models/m2:7/infer", {}, "m27"),
        ("/v2/models/m2/infer?trace=1", {}, "m2"),
        ("/", {"model": "m2"}, "m2"),
        ("/", {"model": "m2:7"}, "m27"),
        ("/", {}, "m1"),
        ("/v2/models", {"model": "m2"}, "m2"),
        ("/v2/models/m1/infer", {"model": "m2", "operation": "where"}, "m1"),
    ],
)
def test_the_url_says_which_model_answers(path, fields, expected):
    assert outputs(served(keys=("m1", "m2", "m2:7")), path, **fields) == [expected, 1]


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/", "/v2/health", "/v2/health/"])
def test_metadata_is_answered_to_get_and_to_nothing_else(path):
    server = served()
    metadata = {"name": "ModelRouter", "version": "v2", "extensions": ["binary_tensor_data", "classification"]}
    assert server.test(path, method="GET") == metadata
    if path != "/":
        assert server.test(path, {"inputs": [1]}, silent=True).status_code == 405


@pytest.mark.parametrize("path", ["/v2/models", "/v2/models/"])
def test_the_models_are_listed(path):
    assert served().test(path, method="GET") == {"models": ["m1", "m2"]}


def test_health_tells_live_and_ready():
    server = served()
    assert server.test("/v2/health/live") == {"live": True}
    assert server.test("/v2/health/ready") == {"ready": True}


@pytest.mark.parametrize("path", ["/elsewhere", "/v2/modelsx/m1", "/v3/models/m1/infer", "/v2/healthy"])
def test_other_paths_are_404(path):
    assert served().test(path, {"inputs": [1]}, silent=True).status_code == 404
    assert served().test(path, method="GET", silent=True).status_code == 404


def test_the_prefix_of_the_models_may_be_another():
    server = served(url_prefix="/api/models/")
    assert outputs(server, "/api/models/m2/infer") == ["m2", 1]
    assert server.test("/v2/models/m2/infer", {"inputs": [1]}, silent=True).status_code == 404


def test_a_router_without_models_is_refused_before_anything_runs():
    with pytest.raises(millrace.errors.GraphError, match="has no routes"):
        served(keys=())


@pytest.mark.parametrize("body", [5, [1], "text"], ids=str)
def test_a_body_that_is_no_object_is_400(body):
    response = served().test("/v2/models/m1/infer", body, silent=True)
    assert response.status_code == 400


def test_an_image_comes_as_an_open_file():
    class Reads(Named):
        def predict(self, request):
            return [request["inputs"][0].read().decode()]

    answer = served(model=Reads).test("/v2/models/m1/infer", b"pixels", content_type="image/png")
    assert answer["outputs"] == ["pixels"]


@pytest.mark.parametrize("model", [Named, NamedLater])
def test_routers_nest_and_steps_see_the_whole_path(model):
    function = millrace.new_function("models", kind="serving")
    inner = function.set_topology("router").add_route("team", class_name="*ModelRouter")
    inner.add_route("m1", class_name=model, model=True)
    with function.to_mock_server() as server:
        assert outputs(server, "/v2/models/team/m1/infer") == ["m1", 1]
        assert server.test("/v2/models/team/m1/where", method="GET") == "/v2/models/team/m1/where"
        assert server.test("/v2/models/team", method="GET") == {"models": ["m1"]}
        assert server.test("/v2/models/team/m9/infer", {"inputs": [1]}, silent=True).status_code == 404
        assert server.test("/v2/models/team/m1", method="GET")["name"] == "m1"


def test_a_nested_model_in_a_process_of_its_own_knows_what_is_asked():
    function = millrace.new_function("models", kind="serving")
    team = function.set_topology("router").add_route("team", class_name="*ModelRouter")
    team.add_route("m1", class_name=Named, model=True, execution="process")
    with function.to_mock_server() as server:
        assert outputs(server, "/v2/models/team/m1/infer") == ["m1", 1]
        assert server.test("/v2/models/team/m1/where", method="GET") == "/v2/models/team/m1/where"


@pytest.mark.parametrize("model", [Named, NamedLater])
def test_a_flow_may_be_a_route(model):
    function = millrace.new_function("models", kind="serving")
    flow = millrace.serving.FlowStep()
    flow.to(name="pre", handler=lambda body: {"inputs": [x + 1 for x in body["inputs"]]}).to(model, "m", model=True)
    function.set_topology("router").add_route("flow1", flow)
    with function.to_mock_server() as server:
        assert outputs(server, "/v2/models/flow1/infer") == ["m", 2]


def test_two_routers_in_a_row_both_see_the_path():
    function = millrace.new_function("models", kind="serving")
    graph = function.set_topology("flow", engine="sync")
    first = graph.add_step("*ModelRouter", name="first")
    second = graph.add_step("*ModelRouter", name="second", after="first")
    second.respond()
    first.add_route("m1", handler=lambda body: {"inputs": [*body["inputs"], "first"]})
    second.add_route("m1", class_name=Named, model=True)
    assert outputs(function.to_mock_server(), "/v2/models/m1/infer") == ["m1", 1, "first"]


def test_handlers_may_be_routes():
    function = millrace.new_function("models", kind="serving")
    function.set_topology("router").add_route("double", handler=lambda body: {"doubled": body["x"] * 2})
    assert function.to_mock_server().test("/v2/models/double", {"x": 4}) == {"doubled": 8}


class Adorned(ModelRouter):
    """Overrides what MLRun's routers let users override."""

    def preprocess(self, event):
        event.headers["seen"] = "preprocess"
        return event

    def parse_event(self, event):
        body = super().parse_event(event)
        return {"inputs": [*body["inputs"], event.headers["seen"]]}

    def postprocess(self, event):
        if isinstance(event.body, dict):
            event.body["by"] = self.name
        return event


class AdornedLater(ModelRouter):
    async def preprocess(self, event):
        return Adorned.preprocess(self, event)

    async def parse_event(self, event):
        return {"inputs": [*event.body["inputs"], event.headers["seen"]]}

    async def postprocess(self, event):
        return Adorned.postprocess(self, event)


@pytest.mark.parametrize("router", [Adorned, AdornedLater])
@pytest.mark.parametrize("model", [Named, NamedLater])
def test_a_router_may_change_the_event_before_and_after(router, model):
    with served(router, model=model) as server:
        answer = server.test("/v2/models/m2/infer", {"inputs": [1]})
        assert (answer["outputs"], answer["by"]) == (["m2", 1, "preprocess"], "models")


class ByLanguage:
    """A router of one's own: no base class, only routes."""

    def __init__(self, routes=None, context=None, name=None, fallback="en"):
        self.routes, self.fallback = routes, fallback

    def do_event(self, event):
        language = event.body.get("language", self.fallback)
        return self.routes[language].run(event)


class ByLanguageLater(ByLanguage):
    async def do_event(self, event):
        return await super().do_event(event)


@pytest.mark.parametrize(("router", "model"), [(ByLanguage, Named), (ByLanguageLater, NamedLater)])
def test_a_class_with_routes_and_do_event_is_a_router(router, model):
    with served(router, keys=("en", "he"), model=model) as server:
        assert outputs(server, "/", language="he") == ["he", 1]
        assert outputs(server, "/v2/models/anything/infer") == ["en", 1]


class First(BaseModelRouter):
    def _handle_event(self, event):
        return next(iter(self.routes.values())).run(event)


class Handles(BaseModelRouter):
    def handle(self, event):
        return next(iter(self.routes.values())).run(event)


class Overrides(ModelRouter):
    def do_event(self, event, *args, **kwargs):
        return super().do_event(event)


@pytest.mark.parametrize("router", [First, Handles, Overrides])
@pytest.mark.parametrize("model", [Named, NamedLater])
def test_a_router_may_override_how_it_handles_an_event(router, model):
    with served(router, model=model) as server:
        assert outputs(server, "/v2/models/m1/infer") == ["m1", 1]


class ByBody(ModelRouter):
    def match(self, rest, body):
        return body["to"], rest[1:]


def test_a_router_that_looks_at_the_body_is_asked_for_every_event_of_a_path():
    function = millrace.new_function("models")
    function.set_topology("router", ByBody)
    for name in ("a", "b"):
        function.graph.add_route(name, handler=lambda body, name=name: name)
    server = function.to_mock_server()
    assert [server.test("/v2/models/x/infer", {"to": to}) for to in ("a", "b", "a")] == ["a", "b", "a"]


def test_a_route_that_is_exchanged_or_taken_away_while_serving_is_not_remembered():
    function = millrace.new_function("models")
    graph = function.set_topology("router", ModelRouter())
    for name in ("a", "b"):
        graph.add_route(name, handler=lambda body, name=name: name)
    router, server = graph.class_name, function.to_mock_server()
    answers = [server.test("/v2/models/a", {})]
    router.routes["a"] = router.routes["b"]
    answers.append(server.test("/v2/models/a", {}))
    del router.routes["a"]
    assert [*answers, server.test("/v2/models/a", {}, silent=True).status_code] == ["a", "b", 404]


def test_a_custom_router_may_fall_back_to_another_route():
    class FallsBack(ModelRouter):
        def handle(self, event):
            try:
                return self.routes["m1"].run(event)
            except millrace.errors.StepError as error:
                assert isinstance(error.__cause__, ZeroDivisionError)
                return self.routes["m2"].run(event)

    class Fails(Named):
        def predict(self, request):
            return [1 / 0] if self.name == "m1" else ["second"]

    assert outputs(served(FallsBack, model=Fails), "/v2/models/m1/infer") == ["second"]


def test_an_error_in_a_nested_route_names_the_innermost_step():
    class Fails(Named):
        def predict(self, request):
            raise LookupError("gone")

    function = millrace.new_function("models", kind="serving")
    team = function.set_topology("router").add_route("team", class_name="*ModelRouter")
    team.add_route("m1", class_name=Fails, model=True)
    response = function.to_mock_server().test("/v2/models/team/m1/infer", {"inputs": [1]}, silent=True)
    error = orjson.loads(response.body)["error"]
    assert (response.status_code, error) == (500, "step 'router/team/m1' of graph 'models' failed: LookupError: gone")


@pytest.mark.parametrize("router", [ModelRouter, ModelRouter(), "*ModelRouter"], ids=["class", "object", "name"])
def test_a_router_in_a_flow_is_a_router_however_it_is_written(router):
    function = millrace.new_function("f", kind="serving")
    step = function.set_topology("flow", engine="async").to(router, name="models").respond()
    step.add_route("m1", class_name=NamedLater, model=True)
    with function.to_mock_server() as server:
        assert server.test("/v2/models/m1/infer", {"inputs": [1]})["outputs"][0] == "m1"


def test_a_router_that_is_made_already_awaits_its_async_routes_and_forgets_them_with_the_next_graph():
    made = ModelRouter()
    for model, expected in ((NamedLater, True), (Named, False)):
        function = millrace.new_function("f", kind="serving")
        function.set_topology("router", made).add_route("m1", class_name=model, model=True)
        with function.to_mock_server() as server:
            assert server.test("/v2/models/m1/infer", {"inputs": [1]})["outputs"][0] == "m1"
        assert made.is_async is expected


def test_a_router_named_as_a_plain_step_says_how_it_is_added():
    function = millrace.new_function("f", kind="serving")
    function.set_topology("flow").to("mlrun.serving.ModelRouter", name="models").respond()
    for check in (function.to_mock_server, function.validate):
        with pytest.raises(GraphError, match=r"step 'models': mlrun.* is a router; add it as '\*mlrun"):
            check()


def test_a_model_that_is_made_already_answers_to_its_routes_name_and_version():
    function = millrace.new_function("f", kind="serving")
    function.add_model("m1:v2", class_name=Named(model=1))
    with function.to_mock_server() as server:
        answer = server.test("/v2/models/m1/versions/v2/infer", {"inputs": [1]})
    assert (answer["model_name"], answer["model_version"]) == ("m1", "v2")


def test_a_model_in_a_process_of_its_own_is_asked_for_the_operation_that_the_url_names():
    function = millrace.new_function("f", kind="serving")
    router = function.set_topology("router", url_prefix="/api")
    router.add_route("m1", class_name=Named, model=True, execution="process")
    with function.to_mock_server() as server:
        assert server.test("/api/m1/where", {"inputs": [1]}) == "/api/m1/where"
