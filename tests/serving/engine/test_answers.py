"""Who answers, and when: responders, dropped events, the caller's own copy."""

import threading

import pytest

import millrace
from millrace.errors import RequestFailed
from millrace.steps import Filter, FlatMap


def flow(engine="async", **settings):
    function = millrace.new_function("answers", kind="serving")
    return function, function.set_topology("flow", engine=engine, **settings)


async def later(body):
    return body


def test_answer_leaves_before_the_later_steps_end_and_completion_waits_for_them():
    goes_on, done = threading.Event(), []

    def slow(body):
        goes_on.wait(10)
        done.append(body)

    function, graph = flow()
    graph.to(name="answer", handler="(event + 1)").respond().to(name="slow", handler=slow, execution="thread")
    with function.to_mock_server() as server:
        assert server.test(body=1) == 2
        assert (done, server.engine.gate.inside) == ([], 1)
        with pytest.raises(TimeoutError, match=r"1 events are not done"):
            server.wait_for_completion(0.05)
        goes_on.set()
        server.wait_for_completion(10)
        assert (done, server.engine.gate.inside) == ([2], 0)


def test_answer_leaves_before_a_later_plain_step_runs():
    asked, runs = threading.Event(), []
    function, graph = flow()
    late = graph.to(name="answer", handler="(event)").respond()
    late.to(name="late", handler=lambda body: runs.append(asked.wait(10)))
    with function.to_mock_server() as server:
        assert server.test(body=1) == 1
        asked.set()
    assert runs == [True]


@pytest.mark.parametrize("engine", ["sync", "async"])
def test_steps_behind_the_responder_do_not_change_the_answer(engine):
    function, graph = flow(engine)
    graph.to(name="answer", handler="(event)").respond().to(name="change", handler=lambda body: body.update(x=2))
    with function.to_mock_server() as server:
        answer = server.test(body={"x": 1})
        server.wait_for_completion(10)
    assert answer == {"x": 1}


@pytest.mark.parametrize("engine", ["sync", "async"])
def test_responder_in_the_middle_of_plain_steps_answers_with_its_own_result(engine):
    seen = []
    function, graph = flow(engine)
    graph.to(name="one", handler="(event + 1)").respond().to(name="two", handler=lambda body: seen.append(body * 10))
    with function.to_mock_server() as server:
        assert [server.test(body=1), server.test(body=2)] == [2, 3]
    assert seen == [20, 30]


@pytest.mark.parametrize("last", ["(event)", later], ids=["plain", "async"])
def test_event_filtered_before_the_responder_answers_none_and_204(last):
    function, graph = flow()
    graph.to(Filter(lambda body: body > 1), "large").to(name="last", handler=last).respond()
    with function.to_mock_server() as server:
        assert [server.test(body=1), server.test(body=2)] == [None, 2]
        assert server.test(body=1, get_body=False).status_code == 204


def test_handler_that_returns_none_answers_200_and_null():
    function, graph = flow()
    graph.to(name="nothing", handler=lambda body: None).respond()
    response = function.to_mock_server().test(body=1, get_body=False)
    assert (response.status_code, response.body) == (200, b"null")


@pytest.mark.parametrize("handler", ["(event)", later], ids=["plain", "async"])
def test_graph_without_a_responder_answers_the_events_id_and_202(handler):
    function, graph = flow()
    graph.to(name="end", handler=handler)
    with function.to_mock_server() as server:
        assert server.test(body=1, event_id="abc") == {"id": "abc"}
        assert server.test(body=1, get_body=False).status_code == 202


def test_sync_flow_without_a_responder_answers_with_its_last_result():
    function, graph = flow("sync")
    graph.to(name="one", handler="(event + 1)").to(name="two", handler="(event * 10)")
    assert function.to_mock_server().test(body=1) == 20


@pytest.mark.parametrize("handler", ["(event)", later], ids=["plain", "async"])
def test_flat_map_before_the_responder_answers_with_one_item_and_runs_all(handler):
    seen = []
    function, graph = flow()
    responder = graph.to(FlatMap(range), "items").to(name="item", handler=handler).respond()
    responder.to(name="see", handler=seen.append)
    with function.to_mock_server() as server:
        assert server.test(body=3) in (0, 1, 2)
        assert server.test(body=0) is None
    assert sorted(seen) == [0, 1, 2]


def test_flat_map_that_responds_answers_with_its_first_item():
    seen = []
    function, graph = flow()
    graph.to(FlatMap(lambda body: range(5, 5 + body)), "items").respond().to(name="see", handler=seen.append)
    with function.to_mock_server() as server:
        assert server.test(body=3) == 5
    assert seen == [5, 6, 7]


def test_response_object_chooses_status_and_headers():
    function, graph = flow()
    graph.to(name="refuse", handler=lambda body: millrace.Response(body="no", status_code=418)).respond()
    server = function.to_mock_server()
    with pytest.raises(RequestFailed, match=r"failed \(418\): no"):
        server.test(body=1)
    assert server.test(body=1, silent=True).status_code == 418


def test_answer_that_can_not_be_sent_is_a_500_that_says_so():
    function, graph = flow()
    graph.to(name="odd", handler=lambda body: {"odd": object()}).respond()
    server = function.to_mock_server()
    with pytest.raises(RequestFailed, match=r"\(500\).*can not be sent as JSON"):
        server.test(body=1, get_body=False)
