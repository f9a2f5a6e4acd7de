"""Full events, input and result paths in a graph."""

import pytest

import millrace
from millrace.errors import GraphError, RequestFailed
from millrace.steps import Batch, Filter, FlatMap, Map, MapClass


def flow(engine="async", **settings):
    function = millrace.new_function("events", kind="serving")
    return function, function.set_topology("flow", engine=engine, **settings)


ENGINES = pytest.mark.parametrize("engine", ["sync", "async"])


@ENGINES
def test_full_event_step_sees_and_changes_the_event(engine):
    def shout(event):
        event.body = [event.id, event.path, event.method, event.headers, event.body.upper()]
        return event

    function, graph = flow(engine)
    graph.to(name="shout", handler=shout, full_event=True).respond()
    answer = function.to_mock_server().test("/p", "x", "PUT", {"A": "b"}, event_id="one", content_type="text/plain")
    assert answer == ["one", "/p", "PUT", {"A": "b"}, "X"]


@ENGINES
@pytest.mark.parametrize("wrong", [None, 5, {"x": 1}])
def test_full_event_step_that_returns_another_type_is_an_error_that_names_it(engine, wrong):
    function, graph = flow(engine)
    graph.to(name="wrong", handler=lambda event: wrong, full_event=True).respond()
    with pytest.raises(RequestFailed, match=rf"'wrong'.*must return the event.*not {type(wrong).__name__}"):
        function.to_mock_server().test(body=1)


@ENGINES
def test_full_event_step_may_return_another_event(engine):
    function, graph = flow(engine)
    graph.to(name="other", handler=lambda event: millrace.MockEvent(7, path="/new"), full_event=True).to(
        name="see", handler=lambda event: setattr(event, "body", [event.body, event.path]) or event, full_event=True
    ).respond()
    assert function.to_mock_server().test(body=1) == [7, "/new"]


def test_full_event_filter_lets_events_pass_by_what_they_are():
    function, graph = flow()
    graph.to(Filter(lambda event: event.path == "/yes"), "filter", full_event=True).respond()
    server = function.to_mock_server()
    assert [server.test("/yes", 1), server.test("/no", 1)] == [1, None]


def test_full_event_flat_map_gives_bodies_or_events():
    seen = []
    function, graph = flow()
    graph.to(
        FlatMap(lambda event: [event.body, millrace.MockEvent(event.body + 1, path="/two")]), "two", full_event=True
    ).to(name="see", handler=lambda event: seen.append((event.body, event.path, event.id)) or event, full_event=True)
    with function.to_mock_server() as server:
        server.test("/one", 1, event_id="a")
        server.wait_for_completion(10)
    assert [one[:2] for one in seen] == [(1, "/one"), (2, "/two")]


def test_dropped_by_a_full_event_step_ends_the_event_in_the_midst_of_plain_steps():
    seen = []
    function, graph = flow()
    graph.to(name="drop", handler=lambda event: millrace.steps.DROPPED, full_event=True).to(
        name="see", handler=seen.append
    ).respond()
    assert (function.to_mock_server().test(body=1), seen) == (None, [])


@ENGINES
def test_input_path_reads_and_result_path_writes(engine):
    function, graph = flow(engine)
    graph.to(name="add", handler="(event + 1)", input_path="a.b", result_path="y.z").respond()
    answer = function.to_mock_server().test(body={"a": {"b": 1}})
    assert answer == {"a": {"b": 1}, "y": {"z": 2}}


@pytest.mark.parametrize("handler", ["plain", "async", "full_event"])
def test_missing_input_path_is_a_422_that_names_the_step_and_the_part(handler):
    async def step(body):
        return body

    function, graph = flow()
    graph.to(
        name="step", handler=step if handler == "async" else "(event)", input_path="a.b.c",
        full_event=handler == "full_event" or None,
    ).respond()  # fmt: skip
    text = r"\(422\): step 'step': the body has no 'b' on its input_path 'a.b.c'"
    with function.to_mock_server() as server, pytest.raises(RequestFailed, match=text):
        server.test(body={"a": {}})


def test_catcher_gets_the_whole_body_of_a_step_with_an_input_path():
    function, graph = flow()
    graph.to(name="broken", handler=lambda event: 1 / 0, input_path="a", full_event=True).respond().error_handler(
        name="catch", handler="(event)"
    )
    assert function.to_mock_server().test(body={"a": 1}) == {"a": 1}


def test_result_path_into_what_is_no_dict_is_a_422():
    function, graph = flow()
    graph.to(name="step", handler="(event)", result_path="a.b").respond()
    with pytest.raises(RequestFailed, match=r"\(422\).*'step'.*result_path 'a.b' of a list"):
        function.to_mock_server().test(body=[1])


def test_event_that_a_step_drops_is_not_written_to_its_result_path():
    class Positive(MapClass):
        def do(self, body):
            return body if body > 0 else self.filter()

    function, graph = flow()
    graph.to(Positive, "positive", input_path="x", result_path="y").respond()
    server = function.to_mock_server()
    assert [server.test(body={"x": 1}), server.test(body={"x": -1})] == [{"x": 1, "y": 1}, None]


def test_filter_with_an_input_path_passes_the_whole_body():
    function, graph = flow()
    graph.to(Filter(lambda x: x > 1), "large", input_path="x").respond()
    server = function.to_mock_server()
    assert [server.test(body={"x": 1}), server.test(body={"x": 2})] == [None, {"x": 2}]


def test_flat_map_with_paths_writes_each_item_into_a_copy():
    seen = []
    function, graph = flow()
    graph.to(FlatMap(range), "items", input_path="n", result_path="i").to(name="see", handler=seen.append)
    with function.to_mock_server() as server:
        server.test(body={"n": 2})
        server.wait_for_completion(10)
    assert seen == [{"n": 2, "i": 0}, {"n": 2, "i": 1}]


@pytest.mark.parametrize("setting", [{"input_path": "a"}, {"retries": 2}, {"execution": "thread"}])
def test_batch_refuses_settings_that_it_can_not_follow(setting):
    function, graph = flow()
    graph.to(Batch(max_events=2), "batch", **setting)
    with pytest.raises(GraphError, match=rf"'batch' keeps events, and takes no {next(iter(setting))}="):
        function.to_mock_server()


def test_map_with_select_outlets_function_chooses_by_the_result():
    seen = []
    function, graph = flow()
    graph.to(Map(lambda body: body + 1, fn_select_outlets=lambda body: "even" if body % 2 == 0 else "odd"), "add")
    for name in ("even", "odd"):
        graph.add_step(name=name, handler=lambda body, name=name: seen.append((name, body)), after="add")
    with function.to_mock_server() as server:
        server.test(body=1)
        server.test(body=2)
        server.wait_for_completion(10)
    assert seen == [("even", 2), ("odd", 3)]
