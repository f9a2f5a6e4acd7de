"""Plain graphs without a responder: a body is accepted, and the caller is told its id."""

import asyncio

import pytest

import millrace
from millrace.steps import Filter


def no_responder(handler, catcher=None):
    function = millrace.new_function("accepting", kind="serving")
    step = function.set_topology("flow", engine="async").to(name="work", handler=handler)
    if catcher is not None:
        step.error_handler(name="mend", handler=catcher)
    return function.to_mock_server()


def failing(body):
    raise ValueError(f"no {body}")


def test_body_is_run_before_its_id_is_told():
    seen = []
    with no_responder(seen.append) as server:
        assert len(server.emit(1)["id"]) == 32 and seen == [1]
        assert len(asyncio.run(server.aemit(2))["id"]) == 32 and seen == [1, 2]


@pytest.mark.parametrize("full_event", [False, True])
def test_event_of_a_step_has_the_id_that_the_caller_is_told(full_event):
    function = millrace.new_function("accepting", kind="serving")
    graph = function.set_topology("flow", engine="async")
    graph.to(name="work", handler=lambda event: event, full_event=full_event)
    with function.to_mock_server() as server:
        assert server.test(body=1, event_id="mine") == {"id": "mine"}


def test_body_that_is_filtered_out_is_accepted_too():
    function = millrace.new_function("accepting", kind="serving")
    function.set_topology("flow", engine="async").to(Filter(lambda body: body > 1), "large")
    with function.to_mock_server() as server:
        assert list(server.emit(1)) == ["id"] and server.test(body=1, get_body=False).status_code == 202


@pytest.mark.parametrize("way", ["emit", "test"])
def test_body_that_fails_was_accepted_and_its_error_is_kept(way):
    with no_responder(failing) as server:
        answer = server.emit(1) if way == "emit" else server.test(body=1)
        (error,) = server.errors
    assert list(answer) == ["id"] and answer["id"] == error.event_id
    assert "step 'work'" in str(error) and "no 1" in str(error)


@pytest.mark.parametrize("way", ["emit", "test"])
def test_catcher_gets_the_body_that_fails(way):
    seen = []
    with no_responder(failing, catcher=seen.append) as server:
        answer = server.emit(1) if way == "emit" else server.test(body=1)
        assert list(answer) == ["id"] and seen == [1] and server.errors == []
