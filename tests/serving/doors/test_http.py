"""The HTTP server, asked by the standard library's client: what reaches the graph, and what comes back."""

import asyncio
import http.client
import json
import time
from contextlib import closing, contextmanager

import numpy as np
import pytest

import millrace
from millrace import errors
from millrace.serving import Response
from millrace.serving.doors.http import HttpSettings
from millrace.serving.doors.http_run import running
from millrace.serving.functions.runtime import make_engine

IS_LATER = False
JSON = {"Content-Type": "application/json"}


@contextmanager
def served(handler, *, respond=True, full_event=False, **settings):
    """A flow of one step over HTTP."""
    function = millrace.new_function("one")
    step = function.set_topology("flow").to(name="step", handler=handler, full_event=full_event)
    if respond:
        step.respond()
    engine, streams = make_engine(function, [])
    with running(engine, streams, settings=HttpSettings(port=0, **settings)) as server:
        yield server


@pytest.fixture(autouse=True, params=["first", "later"])
def place(request, monkeypatch):
    """The first request of a connection comes to the stock path, the later ones to the fast one."""
    monkeypatch.setitem(globals(), "IS_LATER", request.param == "later")


def ask(server, method="POST", path="/", body=None, headers=None):
    """Status, headers and body of the answer to one request."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        if IS_LATER:
            connection.request("GET", "/v2/health/live")
            connection.getresponse().read()
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def both(handler):
    """The same function, plain (answered where it is read) and async (answered by a task)."""

    async def async_handler(body):
        return handler(body)

    return [handler, async_handler]


def raising(error):
    def step(body):
        raise error

    return step


@pytest.mark.parametrize("handler", both(lambda body: {"got": body}))
def test_json_body_reaches_the_step_and_its_result_comes_back_as_json(handler):
    with served(handler) as server:
        status, headers, body = ask(server, body=b'{"x": [1, 2]}', headers=JSON)
    assert (status, headers["Content-Type"], json.loads(body)) == (200, "application/json", {"got": {"x": [1, 2]}})
    assert headers["Content-Length"] == str(len(body)) and headers["Date"].endswith("GMT")


@pytest.mark.parametrize(
    ("body", "content_type", "seen"),
    [
        (b"[1]", None, [1]),
        (b"plain words", None, "b'plain words'"),
        (b"[1]", "application/json; charset=utf-8", [1]),
        (b"[1]", "text/plain", "[1]"),
        ("é".encode(), "text/plain; charset=utf-8", "é"),
        (b"[1]", "application/x-www-form-urlencoded", [1]),
        (b"a=1", "application/x-www-form-urlencoded", "b'a=1'"),
        (b"\x00\x01", "application/octet-stream", "b'\\x00\\x01'"),
        (None, None, None),
    ],
)
def test_body_is_read_by_its_content_type(body, content_type, seen):
    with served(lambda body: [str(body) if isinstance(body, bytes) else body]) as server:
        headers = {"Content-Type": content_type} if content_type else {}
        assert json.loads(ask(server, body=body, headers=headers)[2]) == [seen]


def test_step_with_the_full_event_sees_method_path_query_headers_and_id():
    def look(event):
        event.body = [event.method, event.path, event.query_string, event.fields, event.headers["x-mine"], event.id]
        return event

    with served(look, full_event=True) as server:
        answer = ask(server, "PUT", "/a%20b/c?x=1&y=%C3%A9", headers={"X-Mine": "m", "MLRUN-EVENT-ID": "e1"})
    assert json.loads(answer[2]) == ["PUT", "/a b/c", "x=1&y=%C3%A9", {"x": "1", "y": "é"}, "m", "e1"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_goes_to_the_graph(method):
    def name_it(event):
        event.body = event.method
        return event

    with served(name_it, full_event=True) as server:
        assert ask(server, method, "/some/path")[2] == method.encode()


def test_head_is_a_get_without_its_body():
    with served(lambda body: "four") as server:
        status, headers, body = ask(server, "HEAD", "/path")
    assert (status, headers["Content-Length"], body) == (200, "4", b"")


def test_options_says_which_methods_there_are():
    with served(lambda body: body) as server:
        status, headers, body = ask(server, "OPTIONS", "/path")
    assert (status, body) == (204, b"") and "POST" in headers["Allow"]


@pytest.mark.parametrize(
    ("answer", "status", "content_type", "body"),
    [
        ("text é", 200, "text/plain; charset=utf-8", "text é".encode()),
        (None, 200, "application/json", b"null"),
        ({"n": float("nan")}, 200, "application/json", b'{"n":null}'),
        (np.array([[1.5, 2.0]]), 200, "application/json", b"[[1.5,2.0]]"),
        ({"a": np.float32(0.5)}, 200, "application/json", b'{"a":0.5}'),
        (Response(body="gone", status_code=410), 410, "text/plain; charset=utf-8", b"gone"),
        (Response(body=b"\x89PNG", content_type="image/png"), 200, "image/png", b"\x89PNG"),
        (Response(body={"made": 1}, status_code=201), 201, "application/json", b'{"made":1}'),
        (Response(status_code=204), 204, None, b""),
    ],
)
@pytest.mark.parametrize("number", [0, 1])
def test_answer_goes_out_as_what_it_is(answer, status, content_type, body, number):
    with served(both(lambda _: answer)[number]) as server:
        found = ask(server, body=b"1")
    assert (found[0], found[1]["Content-Type"], found[2]) == (status, content_type, body)


def test_headers_of_a_response_go_out_but_those_of_the_connection_stay_ours():
    response = Response({"X-Mine": "yes", "Content-Length": "999", "content-type": "text/csv"}, "a,b")
    with served(lambda _: response) as server:
        _, headers, body = ask(server, body=b"1")
    assert (headers["X-Mine"], headers["Content-Length"], body) == ("yes", "3", b"a,b")
    assert headers["Content-Type"] == "text/csv; charset=utf-8"


def test_filtered_event_answers_204():
    function = millrace.new_function("odd")
    function.set_topology("flow").to("Filter", name="odd", _fn="(event % 2)").respond()
    engine, _ = make_engine(function, [])
    with running(engine, settings=HttpSettings(port=0)) as server:
        assert [ask(server, body=body)[0] for body in (b"1", b"2")] == [200, 204]


def test_without_a_responder_the_answer_is_202_with_the_id():
    async def work(body):
        return body

    with served(work, respond=False) as server:
        status, _, body = ask(server, body=b"1", headers={"MLRUN-EVENT-ID": "e7"})
    assert (status, json.loads(body)) == (202, {"id": "e7"})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BadRequest("no"), 400), (errors.RouteNotFound("no"), 404), (errors.MethodNotAllowed("no"), 405),
        (errors.InvalidInput("no"), 422), (errors.TooManyRequests("no"), 429), (errors.Unavailable("no"), 503),
        (errors.StepTimeout("no"), 504),
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", [0, 1])
def test_error_of_a_step_chooses_the_status(error, status, number):
    with served(both(raising(error))[number]) as server:
        found, headers, body = ask(server, body=b"1")
    assert (found, json.loads(body)) == (status, {"error": "no"})
    assert (headers["Retry-After"] is not None) == (status in (429, 503))


@pytest.mark.parametrize("error", [ValueError("bad luck"), ZeroDivisionError("bad luck"), SystemExit("bad luck")])
@pytest.mark.parametrize("number", [0, 1])
def test_bug_in_a_step_is_500_with_its_name_and_the_next_request_is_served(error, number):
    with served(both(lambda body: raising(error)(body) if body else "fine")[number]) as server:
        status, _, body = ask(server, body=b"1")
        assert status == 500 and "bad luck" in json.loads(body)["error"] and "Traceback" not in str(body)
        assert ask(server, body=b"0")[2] == b"fine"


def test_500_is_logged_with_its_traceback_the_first_time_only(caplog):
    with served(raising(ValueError("bad luck"))) as server:
        for _ in range(3):
            ask(server, body=b"1")
    logged = [record.getMessage() for record in caplog.records if "bad luck" in record.getMessage()]
    assert len(logged) == 3 and ["Traceback" in text for text in logged] == [True, False, False]


def test_verbose_server_tells_the_client_the_traceback():
    with served(raising(ValueError("bad luck")), verbose=True) as server:
        assert "test_http.py" in json.loads(ask(server, body=b"1")[2])["traceback"]


@pytest.mark.parametrize(
    "answer",
    [
        object(), {"x": object()}, {"x": 2**70}, Response(status_code=99),
        Response({"a\r\nb": "x"}, "x"), Response({"a": "x\ny"}, "x"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", [0, 1])
def test_answer_that_can_not_be_sent_is_500_and_says_why(answer, number):
    with served(both(lambda body: answer if body else "fine")[number]) as server:
        status, headers, body = ask(server, body=b"1")
        assert status == 500 and "answer" in json.loads(body)["error"] and "a" not in headers
        assert ask(server, body=b"0")[2] == b"fine"


@pytest.mark.parametrize("body", [b'{"x":', b"\xff\xfe", b"NaN", b"[1,]", b"{'x': 1}"])
def test_malformed_json_is_400_and_the_next_request_is_served(body):
    with served(lambda body: body) as server:
        status, _, answer = ask(server, body=body, headers=JSON)
        assert status == 400 and "JSON" in json.loads(answer)["error"]
        assert ask(server, body=b"[1]", headers=JSON)[2] == b"[1]"


def test_text_that_is_not_in_its_charset_is_400():
    with served(lambda body: body) as server:
        assert ask(server, body=b"\xff\xfe\xfd", headers={"Content-Type": "text/plain"})[0] == 400


# The first two would take hours for a large body, the third is not text; names are looked up on disk and then kept.
@pytest.mark.parametrize("charset", ["idna", "punycode", "hex", "undefined", "no-such-charset"])
def test_charset_that_no_text_has_is_400(charset):
    with served(lambda body: body) as server:
        status, _, answer = ask(server, body=b"a-b", headers={"Content-Type": f"text/plain; charset={charset}"})
    assert status == 400 and charset in json.loads(answer)["error"]


@pytest.mark.parametrize("charset", ["ISO-8859-1", "windows-1252", "UTF-16", "koi8-u", "utf-8-sig", "gb18030"])
def test_text_is_read_in_the_charset_that_it_names(charset):
    with served(lambda body: body.upper()) as server:
        headers = {"Content-Type": f"text/plain; charset={charset}"}
        assert ask(server, body="ab".encode(charset), headers=headers)[2] == b"AB"


def test_health_is_answered_for_every_graph():
    with served(raising(ValueError("the graph was asked"))) as server:
        assert ask(server, "GET", "/v2/health/live")[0::2] == (200, b'{"live":true}')
        assert ask(server, "GET", "/v2/health/ready")[0::2] == (200, b'{"ready":true}')


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/health"])
def test_door_tells_the_metadata_of_a_graph_without_a_router(path):
    with served(lambda body: body) as server:
        told = json.loads(ask(server, "GET", path)[2])
    extensions = ["binary_tensor_data", "classification"]
    assert told == {"name": "one", "version": millrace.__version__, "extensions": extensions}


def test_get_with_a_query_goes_to_the_graph_also_at_the_root():
    with served(lambda body: "asked") as server:
        assert ask(server, "GET", "/?q=1")[2] == b"asked"


def test_answer_that_takes_too_long_is_504_and_the_next_request_is_served():
    async def never(body):
        if body:
            await asyncio.Event().wait()
        return "fine"

    with served(never, request_timeout_seconds=0.1, drain_seconds=0.1) as server:
        status, _, body = ask(server, body=b"1")
        assert status == 504 and "0.1 s" in json.loads(body)["error"]
        assert ask(server, body=b"0")[2] == b"fine"


def test_event_whose_time_is_over_gives_its_place_to_others():
    async def never(body):
        await asyncio.Event().wait()

    with served(never, request_timeout_seconds=0.05, drain_seconds=0.1) as server:
        assert [ask(server, body=b"1")[0] for _ in range(3)] == [504, 504, 504]
        deadline = time.monotonic() + 10
        while server.engine.gate.inside and time.monotonic() < deadline:  # the answer goes before the walk has ended
            time.sleep(0.001)
        assert server.engine.gate.inside == 0


def test_server_that_drains_is_live_but_not_ready_and_refuses_events():
    with served(lambda body: body) as server:
        server.engine.draining = True
        found = [ask(server, method, path, b"1") for method, path in
                 (("GET", "/v2/health/live"), ("GET", "/v2/health/ready"), ("POST", "/"))]  # fmt: skip
    assert [status for status, *_ in found] == [200, 503, 503]
    assert found[2][1]["Retry-After"] == "1" and found[2][1]["Connection"] == "close"


def test_access_log_has_a_line_for_every_answer(caplog):
    caplog.set_level("INFO", "millrace.access")
    with served(lambda body: "four", access_log=True) as server:
        ask(server, path="/path", body=b"1")
        ask(server, "HEAD", "/head")
    logged = [record.getMessage() for record in caplog.records if record.name == "millrace.access"]
    lines = [line for line in logged if "health" not in line]
    assert [line.rsplit(" ", 2)[0] for line in lines] == [
        '127.0.0.1 "POST /path" 200 4', '127.0.0.1 "HEAD /head" 200 4',
    ]  # fmt: skip
