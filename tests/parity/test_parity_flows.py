"""Flows behind every door: what is filtered, caught, refused, answered by hand, or streamed, in bytes written out."""

import asyncio
import json

import numpy as np
import pytest
from ways_in import DOORS, EVENT_ID, REACHED_BY_CLIENTS, Reply, Request, every_door

import millrace
from millrace.errors import BadRequest, TooManyRequests
from millrace.serving import Response

JSON, TEXT = "application/json", "text/plain; charset=utf-8"


def flow(handler, *, then=None, **step):
    """A function that makes a flow of one step that answers."""

    def make():
        function = millrace.new_function("flow")
        first = function.set_topology("flow").to(name="step", handler=handler, **step)
        (first.to(name="then", handler=then) if then else first).respond()
        return function

    return make


def asked(make, request):
    with every_door(make) as ask:
        return ask(request)


ANSWERS = {
    "object": (lambda body: {"got": body}, b'[1,"\\u00e9"]', (200, JSON, '{"got":[1,"é"]}'.encode())),
    "list": (lambda body: [body, body], b"1", (200, JSON, b"[1,1]")),
    "empty list": (lambda body: [], b"1", (200, JSON, b"[]")),
    "number": (lambda body: 1.5, b"1", (200, JSON, b"1.5")),
    "nothing": (lambda body: None, b"1", (200, JSON, b"null")),
    "false": (lambda body: False, b"1", (200, JSON, b"false")),
    "text": (lambda body: "é\n\u2028", b"1", (200, TEXT, "é\n\u2028".encode())),
    "bytes": (lambda body: b"\x00\xff\n", b"1", (200, "text/plain", b"\x00\xff\n")),
    "array": (lambda body: {"x": np.arange(3)}, b"1", (200, JSON, b'{"x":[0,1,2]}')),
    "tuple": (lambda body: (1, 2), b"1", (200, JSON, b"[1,2]")),
    "null in": (lambda body: [body], b"null", (200, JSON, b"[null]")),
    "large number": (lambda body: [body], b"18446744073709551616", (200, JSON, b"[1.8446744073709552e+19]")),
}


RESPONSES = {
    "status": (Response(body={"a": 1}, status_code=201), Reply(201, JSON, b'{"a":1}')),
    "text": (Response(body="gone", status_code=410), Reply(410, TEXT, b"gone")),
    "bytes": (Response(body=b"\xff\xd8", content_type="image/jpeg"), Reply(200, "image/jpeg", b"\xff\xd8")),
    "html": (Response(body="<p>é", content_type="text/html"), Reply(200, "text/html; charset=utf-8", "<p>é".encode())),
    "latin-1": (Response(body=b"\xe9", content_type="text/plain; charset=latin-1"),
                Reply(200, "text/plain; charset=latin-1", b"\xe9")),
    "headers": (Response(headers={"X-Shop": "7", "Cache-Control": "no-store"}, body="ok"),
                Reply(200, TEXT, b"ok", (("cache-control", "no-store"), ("x-shop", "7")))),
    "number in a header": (Response(headers={"X-Count": 7}, body="ok"), Reply(200, TEXT, b"ok", (("x-count", "7"),))),
    "redirect": (Response(headers={"Location": "/there"}, status_code=303),
                 Reply(303, None, b"", (("location", "/there"),))),
    "no content": (Response(body="not sent", status_code=204), Reply(204, None, b"")),
    "not modified": (Response(headers={"ETag": '"1"'}, status_code=304), Reply(304, None, b"", (("etag", '"1"'),))),
}  # fmt: skip

FAILURES = {"request": (BadRequest, 400), "value": (ValueError, 500), "exit": (SystemExit, 500),
            "many": (TooManyRequests, 429)}  # fmt: skip


def fail(kind):
    raise kind("no shop 7")


# One step answers all of these: so all are asked of one graph, which is started once.
STEPS = {
    **{name: answer for name, (answer, _, _) in ANSWERS.items()},
    **{f"response: {name}": lambda body, given=given: given for name, (given, _) in RESPONSES.items()},
    **{f"failure: {name}": lambda body, kind=kind: fail(kind) for name, (kind, _) in FAILURES.items()},
    "what no JSON says": lambda body: {"x": object()},
}


def plain(asked):
    return STEPS[asked["step"]](asked["body"])


async def awaited(asked):
    await asyncio.sleep(0)
    return plain(asked)


def to_step(name, body=b"1"):
    return Request(body=b'{"step":%b,"body":%b}' % (json.dumps(name).encode(), body))


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("handler", [plain, awaited])
def test_an_answer_has_the_same_bytes_behind_every_door(name, handler):
    _, body, expected = ANSWERS[name]
    assert asked(flow(handler), to_step(name, body)) == Reply(*expected)


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_keeps_its_status_headers_and_body_behind_every_door(name):
    assert asked(flow(plain), to_step(f"response: {name}")) == RESPONSES[name][1]


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_the_same_status_and_text_behind_every_door(name):
    found = asked(flow(plain), to_step(f"failure: {name}"))
    assert (found.status, found.content_type) == (FAILURES[name][1], JSON)
    assert "no shop 7" in json.loads(found.body)["error"]


def test_an_answer_that_can_not_be_sent_is_the_same_error_behind_every_door():
    found = asked(flow(plain), to_step("what no JSON says"))
    assert (found.status, found.content_type) == (500, JSON)


@pytest.mark.parametrize(
    ("body", "headers", "seen"),
    [
        (b'{"a": 1}', {"Content-Type": "application/json"}, {"a": 1}),
        (b'{"a": 1}', {"Content-Type": "application/json; charset=utf-8"}, {"a": 1}),
        (b'{"a": 1}', {"Content-Type": "Application/JSON"}, {"a": 1}),
        (b'{"a": 1}', {"Content-Type": "application/cloudevents+json"}, {"a": 1}),
        (b'{"a": 1}', {}, {"a": 1}), (b'{"a": 1}', {"Content-Type": "application/x-www-form-urlencoded"}, {"a": 1}),
        (b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=1"), (b"plain", {}, b"plain"),
        (b"5", {"Content-Type": "text/plain"}, "5"), (b"\xe9", {"Content-Type": "text/plain; charset=latin-1"}, "é"),
        (b"\x00\xff", {"Content-Type": "application/octet-stream"}, b"\x00\xff"), (b"", {}, None),
        (b"", {"Content-Type": "application/json"}, None), (b"null", {"Content-Type": "application/json"}, None),
        (b"[null, 1e3]", {"Content-Type": "application/json"}, [None, 1e3]),
        (b'"5"', {"Content-Type": "application/json"}, "5"),
    ],
)  # fmt: skip
def test_a_step_sees_the_same_body_behind_every_door(body, headers, seen):
    found = asked(flow(repr), Request(body=body, headers=headers))
    assert found.body.decode() == repr(seen)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"), (b'{"a": NaN}', "application/json"),
        (b'{"a": 1} ', "application/json; charset=utf-8"),
        (b"[Infinity]", "application/json"), (b'"\\ud800"', "application/json"), (b"\xff", "text/plain"),
        (b"1", "text/plain; charset=klingon"),
    ],
)  # fmt: skip
def test_a_body_that_is_not_what_it_says_is_refused_alike_by_every_door(body, content_type):
    found = asked(flow(repr), Request(body=body, headers={"Content-Type": content_type}))
    expected = (200, TEXT) if body == b'{"a": 1} ' else (400, JSON)
    assert (found.status, found.content_type) == expected


@pytest.mark.parametrize("target", ["/", "/shop/items", "/a%20b/%C3%A9", "/items?size=3&tag=&size=4"])
def test_a_step_sees_the_same_request_behind_every_door(target):
    def look(event):
        query = sorted(getattr(event, "fields", {}).items())
        event.body = [event.path, event.method, event.headers["X-Shop"], event.id, query]
        return event

    headers = {"Content-Type": "application/json", "X-Shop": "7"}
    with every_door(flow(look, full_event=True)) as ask:
        replies = [ask(Request(target, b"1", method, headers)) for method in ("POST", "PUT", "DELETE")]
    path = {"/a%20b/%C3%A9": "/a b/é"}.get(target, target.partition("?")[0])
    query = [["size", "4"], ["tag", ""]] if "?" in target else []
    expected = [[path, method, "7", EVENT_ID, query] for method in ("POST", "PUT", "DELETE")]
    assert [json.loads(one.body) for one in replies] == expected


def test_a_filtered_event_is_204_behind_every_door():
    def make():
        function = millrace.new_function("flow")
        graph = function.set_topology("flow")
        graph.to("storey.Filter", "big", _fn="(event > 5)").to(name="out", handler="(event)").respond()
        return function

    with every_door(make) as ask:
        assert [ask(Request(body=b"9")), ask(Request(body=b"1"))] == [Reply(200, JSON, b"9"), Reply(204, None, b"")]


def test_a_catchers_answer_is_the_same_behind_every_door():
    def make():
        function = millrace.new_function("flow")
        graph = function.set_topology("flow")
        graph.to(name="divide", handler="(10 / event)").error_handler(
            name="caught", handler="({'caught': event})"
        )
        graph["divide"].respond()
        return function

    with every_door(make) as ask:
        replies = [ask(Request(body=b"4")), ask(Request(body=b"0"))]
    assert replies[0] == Reply(200, JSON, b"2.5")
    assert replies[1] == Reply(200, JSON, b'{"caught":0}')


STREAMS = {
    "objects": ([{"a": 1}, [2]], "*/*", ("application/x-ndjson", b'{"a":1}\n[2]\n')),
    "events": ([{"a": 1}, "two\nlines"], "text/event-stream",
               ("text/event-stream; charset=utf-8", b'data: {"a":1}\n\ndata: two\ndata: lines\n\n')),
    "text": (["é", "tc"], "*/*", (TEXT, "étc".encode())),
    "bytes": ([b"\x00", b"\xff"], "*/*", ("application/octet-stream", b"\x00\xff")),
}  # fmt: skip



CHUNKS = {
    **{name: chunks for name, (chunks, _, _) in STREAMS.items()},
    "broken": [ValueError("no more")], "broken later": [{"n": 1}, ValueError("no more")],
    "no JSON": [object()], "no JSON later": [{"n": 1}, object()],
}  # fmt: skip


def plain_stream(name):
    for chunk in CHUNKS[name]:
        if isinstance(chunk, Exception):
            raise chunk
        yield chunk


async def awaiting_stream(name):
    for chunk in plain_stream(name):
        await asyncio.sleep(0)
        yield chunk


def to_stream(name, accept="*/*"):
    headers = {"Content-Type": "application/json", "Accept": accept}
    return Request(body=json.dumps(name).encode(), headers=headers)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("handler", [plain_stream, awaiting_stream])
def test_a_stream_has_the_same_bytes_behind_every_door(name, handler):
    _, accept, expected = STREAMS[name]
    found = asked(flow(handler), to_stream(name, accept))
    assert (found.status, found.content_type, found.body) == (200, *expected)
    assert dict(found.headers)["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("name", "start"), [("broken", (500, JSON)), ("broken later", (200, "application/x-ndjson"))]
)
def test_a_stream_that_fails_says_so_alike_behind_every_door(name, start):
    found = asked(flow(awaiting_stream), to_stream(name))
    assert (found.status, found.content_type) == start
    assert "no more" in json.loads(found.body.splitlines()[-1])["error"]


@pytest.mark.parametrize("name", ["no JSON", "no JSON later"])
def test_a_chunk_that_can_not_be_sent_ends_a_stream_alike_behind_every_door(name):
    found = asked(flow(awaiting_stream), to_stream(name))
    assert (found.status, found.content_type) == (200, "application/x-ndjson")
    assert json.loads(found.body.splitlines()[-1]) == {
        "error": "the stream failed: TypeError: an object can not be written as JSON"
    }


def test_a_graph_without_a_responder_answers_202_behind_every_door():
    def make():
        function = millrace.new_function("flow")
        function.set_topology("flow").to(name="step", handler="(event)")
        return function

    assert asked(make, Request(body=b"1")) == Reply(202, JSON, b'{"id":"%b"}' % EVENT_ID.encode())


@pytest.mark.parametrize("target", ["/", "/v2/health", "/v2"])
def test_metadata_of_a_flow_is_told_by_the_doors_that_clients_reach(target):
    replies = set()
    for name in REACHED_BY_CLIENTS:
        with DOORS[name](flow(repr)) as ask:
            replies.add(ask(Request(target, method="GET", headers={})))
    (only,) = replies
    extensions = ["binary_tensor_data", "classification"]
    assert json.loads(only.body) == {"name": "flow", "version": "0.1.0", "extensions": extensions}
