"""Streaming answers: their form, their errors, and readers that go away."""

import asyncio
import http.client
import json
import socket
import threading
from contextlib import closing, contextmanager

import pytest

import millrace
from millrace.serving.doors.http import HttpSettings
from millrace.serving.doors.http_run import running
from millrace.serving.functions.runtime import make_engine

SSE = {"Accept": "text/event-stream"}


@contextmanager
def served(handler, **settings):
    function = millrace.new_function("stream")
    function.set_topology("flow").to(name="step", handler=handler).respond()
    engine, streams = make_engine(function, [])
    with running(engine, streams, settings=HttpSettings(port=0, **settings)) as server:
        yield server


@contextmanager
def asked(server, *, headers=None, method="POST", body=b"1"):
    """The answer, of which nothing but the head is read; by the fast path, as it is not the connection's first."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("GET", "/v2/health/live")
        connection.getresponse().read()
        connection.request(method, "/path", body, headers or {})
        yield connection.getresponse()


def chunks(*values, error=None):
    async def step(body):
        for value in values:
            await asyncio.sleep(0)
            yield value
        if error is not None:
            raise error

    return step


@pytest.mark.parametrize(
    ("values", "headers", "content_type", "body"),
    [
        ([{"x": 1}, [2]], {}, "application/x-ndjson", b'{"x":1}\n[2]\n'),
        (["a", "é"], {}, "text/plain; charset=utf-8", "aé".encode()),
        ([b"\x00", b"\x01"], {}, "application/octet-stream", b"\x00\x01"),
        (
            [{"x": 1}, "two\nlines"], SSE, "text/event-stream; charset=utf-8",
            b'data: {"x":1}\n\ndata: two\ndata: lines\n\n',
        ),
    ],
)  # fmt: skip
def test_form_of_a_stream_is_what_is_asked_for_or_what_its_chunks_are(values, headers, content_type, body):
    with served(chunks(*values)) as server, asked(server, headers=headers) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)
        assert answer.headers["Transfer-Encoding"] == "chunked" and answer.read() == body


def test_chunk_arrives_before_the_next_one_is_made():
    gate = threading.Event()

    def step(body):
        yield {"n": 1}
        assert gate.wait(10)
        yield {"n": 2}

    function = millrace.new_function("stream")
    function.set_topology("flow").to(name="step", handler=step, execution="thread").respond()
    engine, _ = make_engine(function, [])
    with running(engine, settings=HttpSettings(port=0)) as server, asked(server) as answer:
        assert answer.readline() == b'{"n":1}\n'
        gate.set()
        assert answer.read() == b'{"n":2}\n'


def test_connection_serves_further_requests_after_a_stream():
    with (
        served(chunks({"n": 1})) as server,
        closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection,
    ):
        for _ in range(3):
            connection.request("POST", "/", b"1")
            assert connection.getresponse().read() == b'{"n":1}\n'


def test_error_before_the_first_chunk_has_its_true_status():
    with served(chunks(error=millrace.errors.InvalidInput("bad"))) as server, asked(server) as answer:
        assert (answer.status, json.loads(answer.read())) == (422, {"error": "bad"})


def test_error_in_a_stream_is_its_last_line():
    with served(chunks({"n": 1}, error=ValueError("bad luck"))) as server, asked(server) as answer:
        lines = [json.loads(line) for line in answer.read().splitlines()]
    assert lines[0] == {"n": 1} and "bad luck" in lines[1]["error"] and len(lines) == 2


def test_error_in_server_sent_events_is_an_event_of_type_error():
    with served(chunks({"n": 1}, error=ValueError("bad luck"))) as server, asked(server, headers=SSE) as answer:
        last = answer.read().split(b"\n\n")[1].splitlines()
    assert last[0] == b"event: error" and "bad luck" in json.loads(last[1].removeprefix(b"data: "))["error"]


def test_raw_stream_that_fails_is_cut_so_that_nobody_takes_it_for_whole():
    with (
        served(chunks("text", error=ValueError("bad luck"))) as server,
        asked(server) as answer,
        pytest.raises(http.client.IncompleteRead) as cut,
    ):
        answer.read()
    assert cut.value.partial == b"text"


def test_generator_ends_when_its_reader_goes_away():
    ended = threading.Event()

    async def endless(body):
        try:
            while True:
                await asyncio.sleep(0)
                yield "x" * 1000
        finally:
            ended.set()

    with served(endless) as server:
        with asked(server) as answer:
            answer.read(10)
        assert ended.wait(10)


def test_reader_that_stops_reading_stops_the_generator():
    made = []

    async def endless(body):
        for _ in range(10_000):
            made.append(body)
            yield b"x" * 100_000

    with served(endless, drain_seconds=0.1) as server, socket.create_connection(("127.0.0.1", server.port)) as reader:
        reader.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1")
        reader.recv(1000)
        with asked(server, body=b"2") as other:
            other.read(100_000_000)
        assert made.count(2) >= 1_000 and made.count(1) < 500


def test_head_of_a_stream_has_no_body():
    with served(chunks({"n": 1})) as server, asked(server, method="HEAD") as answer:
        assert (answer.status, answer.headers["Content-Type"], answer.read()) == (200, "application/x-ndjson", b"")


def test_http_1_0_gets_a_stream_without_chunks():
    with served(chunks({"n": 1}, {"n": 2})) as server, socket.create_connection(("127.0.0.1", server.port)) as reader:
        reader.sendall(b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\n1")
        with reader.makefile("rb") as file:
            assert file.read().partition(b"\r\n\r\n")[2] == b'{"n":1}\n{"n":2}\n'


@pytest.mark.parametrize("headers", [None, SSE])
def test_generator_that_yields_nothing_is_200_and_an_empty_stream(headers):
    with served(chunks()) as server, asked(server, headers=headers) as answer:
        assert (answer.status, answer.read()) == (200, b"")
