"""The answers of the mock server are those that a client has."""

import asyncio
import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest

import millrace
from millrace import MockEvent
from millrace.errors import BadRequest, RequestFailed
from millrace.serving.doors.http import HttpSettings
from millrace.serving.doors.http_run import running
from millrace.serving.functions.runtime import make_engine

ARRAYS = {"outputs": np.array([1, 2]), "by": [np.float32(0.5)]}
FORM = "application/x-www-form-urlencoded"


def answers(body):
    function = millrace.new_function("f", kind="serving")
    function.set_topology("flow").to(name="x", handler=lambda _: body).respond()
    return function.to_mock_server()


def test_arrays_are_lists_for_test_and_atest():
    expected = {"outputs": [1, 2], "by": [0.5]}
    with answers(ARRAYS) as server:
        assert server.test() == asyncio.run(server.atest()) == expected


def test_emit_gives_the_objects_of_the_graph():
    with answers(ARRAYS) as server:
        assert server.emit(None) is ARRAYS


@pytest.mark.parametrize(("body", "expected"), [(b'{"x": 1}', {"x": 1}), (b"x=1", b"x=1")])
def test_a_form_that_is_json_is_taken_as_json_as_over_http(body, expected):
    function = millrace.new_function("f", kind="serving")
    function.set_topology("flow").to(name="x", handler="(event)").respond()
    with function.to_mock_server() as server:
        assert server.test(body=body, content_type=FORM) == expected


def over_http(function, path="/", body=None, headers=None):
    """The status and the JSON that a client gets."""
    with running(*make_engine(function, []), settings=HttpSettings(port=0)) as server:
        try:
            with urlopen(Request(server.url + path, json.dumps(body).encode(), headers or {}), timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


def told(event):
    event.body = [event.path, event.query_string, event.fields, event.trigger.kind, event.trigger.name, event.method,
                  event.headers.get("x-tag"), event.headers.get("X-TAG")]  # fmt: skip
    return event


@pytest.mark.parametrize("path", ["/items/a%20b?size=3&size=4&of=%20", "/plain", "/é%C3%A9#part", "/?x"])
def test_event_says_the_same_of_its_request_as_over_http(path):
    function = millrace.new_function("f")
    function.set_topology("flow").to(name="told", handler=told, full_event=True).respond()
    headers = {"X-Tag": "t", "Content-Type": "application/json"}
    with function.to_mock_server() as server:
        found = server.test(path, body=1, headers=headers)
    asked = path.replace("é", "%C3%A9", 1)
    assert found == over_http(function, asked, 1, headers)[1] and found[3:] == ["http", "http", "POST", "t", "t"]


def test_trigger_that_a_test_gives_is_kept():
    function = millrace.new_function("f")
    function.set_topology("flow").to(name="told", handler=told, full_event=True).respond()
    with function.to_mock_server() as server:
        assert server.test(trigger=millrace.serving.MockTrigger("kafka-cluster", "t"))[3:5] == ["kafka-cluster", "t"]


def endless(body):
    answer = {}
    answer["self"] = answer
    return answer


def test_answer_that_holds_itself_is_the_same_500_as_over_http():
    function = millrace.new_function("f")
    function.set_topology("flow").to(name="x", handler=endless).respond()
    status, answer = over_http(function)
    assert status == 500 and "a dict, can not be sent as JSON (it holds itself" in answer["error"]
    with function.to_mock_server() as server, pytest.raises(RequestFailed) as failed:
        for response in (server.test(silent=True), server.test(silent=True, get_body=False)):
            assert (response.status_code, json.loads(response.body)) == (500, answer)
        server.test()
    assert str(failed.value) == f"failed (500): {answer['error']}"


def test_failure_of_another_server_is_said_once():
    inner, outer = millrace.new_function("inner"), millrace.new_function("outer")
    inner.set_topology("flow").to(name="x", handler=lambda _: {}["gone"]).respond()
    with inner.to_mock_server() as server:
        outer.set_topology("flow").to(name="ask", handler=lambda _: server.test()).respond()
        with outer.to_mock_server() as asking, pytest.raises(RequestFailed) as failed:
            asking.test()
    assert str(failed.value).startswith("failed (500): step 'x' of graph 'inner' failed: KeyError")


@pytest.mark.parametrize("array", [np.array([b"a"]), np.array([1 + 2j])], ids=["bytes", "complex"])
def test_an_array_that_json_can_not_say_is_an_answer_of_500_as_over_http(array):
    with answers({"outputs": array}) as server:
        answer = server.test(silent=True)
        with pytest.raises(RequestFailed, match=r"\(500\): the graph's answer, a dict, can not be sent as JSON"):
            asyncio.run(server.atest())
    assert (answer.status_code, b"can not be sent as JSON" in answer.body) == (500, True)


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("kind", [ValueError, BadRequest])
def test_an_error_with_a_text_that_utf8_can_not_say_is_an_answer(kind, verbose):
    def broken(body):
        raise kind("no file '\udcff'")

    function = millrace.new_function("f", kind="serving")
    function.set_topology("flow").to(broken, name="x").respond()
    with function.to_mock_server() as server:
        server.context.verbose = verbose
        answer = server.test(body=1, silent=True)
        with pytest.raises(RequestFailed, match=r"no file '\\udcff'"):
            server.test(body=1)
    assert json.loads(answer.body)["error"].endswith(r"no file '\udcff'")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (millrace.Response(body=object()), "an object, can not be sent as JSON"),
        (millrace.Response(status_code="200"), "can not be sent: '200' is no status of an answer"),
        (millrace.Response(status_code=1000), "can not be sent: 1000 is no status of an answer"),
        (millrace.Response({"a": "x\ny"}, "x"), "can not be sent: the header 'a'"),
        (millrace.Response(body="\ud800"), "can not be sent: the answer can not be written in the charset"),
    ],
    ids=["body", "text status", "status", "header", "charset"],
)
def test_a_response_that_can_not_be_sent_is_500_as_over_http(answer, words):
    with answers(answer) as server:
        for get_body in (True, False):
            refused = server.test(silent=True, get_body=get_body)
            assert refused.status_code == 500 and words in json.loads(refused.body)["error"]
        assert server.run(MockEvent()).status_code == 500
        with pytest.raises(RequestFailed, match=words):
            server.test()
