"""HTTP as bytes on a socket: framing, limits, keep-alive, pipelining, and what is no HTTP."""

import asyncio
import gzip
import json
import os
import socket
import threading
import time
import zlib
from contextlib import contextmanager

import pytest

import millrace
from millrace.serving.doors.http import HttpSettings
from millrace.serving.doors.http_run import running
from millrace.serving.functions.runtime import make_engine

END = b"\r\n\r\n"


@contextmanager
def served(handler, **settings):
    function = millrace.new_function("one")
    function.set_topology("flow").to(name="step", handler=handler).respond()
    engine, streams = make_engine(function, [])
    with running(engine, streams, settings=HttpSettings(port=0, **settings)) as server:
        yield server


@contextmanager
def connected(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        yield connection


def post(body, *headers, version="1.1"):
    lines = [f"POST / HTTP/{version}", "Host: here", *headers]
    return "\r\n".join(lines).encode() + END + body


def sized(body, *headers, version="1.1"):
    return post(body, f"Content-Length: {len(body)}", *headers, version=version)


def read_all(connection):
    """Until the server closes."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def read_answers(connection, count):
    """The statuses and bodies of so many answers with Content-Length."""
    buffer, found = b"", []
    while len(found) < count:
        while END not in buffer:
            buffer += connection.recv(65_536)
        head, _, buffer = buffer.partition(END)
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(buffer) < length:
            buffer += connection.recv(65_536)
        found.append((int(head.split()[1]), buffer[:length]))
        buffer = buffer[length:]
    return found


async def echo(body):
    await asyncio.sleep(0)
    return body


PLAIN_AND_ASYNC = pytest.mark.parametrize("handler", [lambda body: body, echo], ids=["plain", "async"])


@PLAIN_AND_ASYNC
def test_connection_serves_many_requests(handler):
    with served(handler) as server, connected(server) as connection:
        for number in range(20):
            connection.sendall(sized(b"%d" % number))
            assert read_answers(connection, 1) == [(200, b"%d" % number)]


@PLAIN_AND_ASYNC
def test_pipelined_requests_are_answered_in_their_order(handler):
    with served(handler) as server, connected(server) as connection:
        connection.sendall(b"".join(sized(b"%d" % number) for number in range(100)))
        assert read_answers(connection, 100) == [(200, b"%d" % number) for number in range(100)]


@PLAIN_AND_ASYNC
def test_pipelined_requests_of_all_kinds_are_answered_in_their_order(handler):
    kinds = [sized(b"1"), post(b"1\r\n2\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
             sized(b'"x"', "Expect: 100-continue"), sized(gzip.compress(b"4"), "Content-Encoding: gzip"),
             sized(b"[5", "Content-Type: application/json"),
             b"HEAD /v2/health/live HTTP/1.1\r\nHost: here\r\n\r\n", sized(b"7")]  # fmt: skip
    with served(handler) as server, connected(server) as connection:
        connection.sendall(b"".join(kinds) + sized(b"8", "Connection: close"))
        heads = [part for part in read_all(connection).split(b"HTTP/1.1 ")[1:] if not part.startswith(b"100")]
    assert [head[:3] for head in heads] == [b"200"] * 4 + [b"400"] + [b"200"] * 3
    assert [head.partition(END)[2] for head in heads[:4]] == [b"1", b"2", b"x", b"4"]
    assert [head.partition(END)[2] for head in heads[5:]] == [b"", b"7", b"8"]


@PLAIN_AND_ASYNC
def test_request_in_single_bytes_is_served(handler):
    with served(handler) as server, connected(server) as connection:
        for byte in sized(b'{"x":1}'):
            connection.sendall(bytes([byte]))
        assert read_answers(connection, 1) == [(200, b'{"x":1}')]


@PLAIN_AND_ASYNC
def test_body_of_10_mb_arrives_whole(handler):
    body = json.dumps(["x" * 1_000] * 10_000, separators=(",", ":")).encode()
    with served(handler) as server, connected(server) as connection:
        connection.sendall(sized(body))
        assert read_answers(connection, 1) == [(200, body)]


@PLAIN_AND_ASYNC
def test_http_1_0_gets_its_answer_and_the_connection_is_closed(handler):
    with served(handler) as server, connected(server) as connection:
        connection.sendall(sized(b"1", version="1.0"))
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.0 200 OK") and answer.endswith(END + b"1")


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_offer_of_another_protocol_is_declined_and_the_request_served(protocol):
    offer = sized(b"1", "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAMAAABk")
    with served(lambda body: body) as server, connected(server) as connection:
        connection.sendall(sized(b"0") + offer)
        assert read_answers(connection, 2) == [(200, b"0"), (200, b"1")]
        connection.sendall(sized(b"2"))
        assert read_answers(connection, 1) == [(200, b"2")]


def test_connection_close_is_obeyed():
    with served(lambda body: body) as server, connected(server) as connection:
        connection.sendall(sized(b"1", "Connection: close"))
        assert read_all(connection).endswith(END + b"1")


def test_body_follows_when_the_server_says_continue():
    with served(lambda body: body) as server, connected(server) as connection:
        connection.sendall(post(b"", "Expect: 100-continue", "Content-Length: 1"))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue" + END
        connection.sendall(b"7")
        assert read_answers(connection, 1) == [(200, b"7")]


def test_too_large_body_is_refused_before_it_is_sent():
    with served(lambda body: body, max_body_bytes=100) as server, connected(server) as connection:
        connection.sendall(post(b"", "Expect: 100-continue", "Content-Length: 101"))
        status, body = read_answers(connection, 1)[0]
    assert status == 413 and "100 bytes" in json.loads(body)["error"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        sized(b"1" * 101),
        post(b"", "Content-Length: 99999999999"),
        post(b"65\r\n" + b"1" * 101 + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        sized(gzip.compress(b"1" * 101), "Content-Encoding: gzip"),
        sized(zlib.compress(b"1" * 10_000_000), "Content-Encoding: deflate"),
    ],
    ids=["sized", "announced", "chunked", "gzip", "bomb"],
)
def test_body_over_the_limit_is_413_however_it_comes_and_the_next_client_is_served(request_bytes):
    with served(lambda body: body, max_body_bytes=100_000 if len(request_bytes) > 1_000 else 100) as server:
        with connected(server) as connection:
            connection.sendall(request_bytes)
            assert read_answers(connection, 1)[0][0] == 413
        with connected(server) as connection:
            connection.sendall(sized(b"1" * 100))
            assert read_answers(connection, 1)[0][0] == 200


BODY = b'{"x":1}'


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY)), ("x-gzip", gzip.compress(BODY)), ("GZIP", gzip.compress(BODY)),
        ("gzip", gzip.compress(BODY[:3]) + gzip.compress(BODY[3:])),  # RFC 1952, 2.2: members one after another
        ("deflate", zlib.compress(BODY)), ("deflate", zlib.compress(BODY)[2:-4]), ("identity", BODY),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_chunked", [False, True])
def test_compressed_body_is_decompressed(encoding, body, is_chunked):
    header = f"Content-Encoding: {encoding}"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    with served(lambda body: body) as server, connected(server) as connection:
        connection.sendall(post(chunks, header, "Transfer-Encoding: chunked") if is_chunked else sized(body, header))
        assert read_answers(connection, 1) == [(200, BODY)]


@pytest.mark.parametrize(
    ("encoding", "body", "says"),
    [
        ("gzip", gzip.compress(BODY)[:-6], "too early"), ("deflate", zlib.compress(BODY)[:-2], "too early"),
        ("gzip", gzip.compress(BODY)[:-8] + bytes(8), "check"), ("gzip", gzip.compress(BODY) + b"more", "header"),
        ("deflate", zlib.compress(BODY) + b"more", "more follows"),
        ("gzip", gzip.compress(b"") * 1_001, "more follows"),
        ("zstd", b"1", "is not known"), ("gzip, gzip", gzip.compress(gzip.compress(BODY)), "is not known"),
    ],
)  # fmt: skip
def test_compressed_body_that_is_broken_is_400_and_the_connection_serves_on(encoding, body, says):
    with served(lambda body: body) as server, connected(server) as connection:
        connection.sendall(sized(body, f"Content-Encoding: {encoding}") + sized(b"1"))
        (status, error), after = read_answers(connection, 2)
    assert status == 400 and says in json.loads(error)["error"] and after == (200, b"1")


@pytest.mark.parametrize(
    "request_bytes",
    [
        sized(b"no gzip", "Content-Encoding: gzip"),
        sized(b"1", "Content-Encoding: snappy"),
        sized(b"1", "MLRUN-EVENT-ID: caf\u00e9"),
        sized(b"1", "Expect: a miracle"),
        post(b"zz\r\n", "Transfer-Encoding: chunked"),
        b"NONSENSE" + END,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + END,
        b"GET / HTTP/1.1" + END,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1" + END,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked" + END,
    ],
)
def test_what_is_no_proper_request_is_400_in_json_and_the_next_client_is_served(request_bytes):
    with served(lambda body: body) as server:
        with connected(server) as connection:
            connection.sendall(request_bytes)
            status, body = read_answers(connection, 1)[0]
            assert status == 400 and set(json.loads(body)) == {"error"}
        with connected(server) as connection:
            connection.sendall(sized(b"1"))
            assert read_answers(connection, 1) == [(200, b"1")]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9_000 + END,
        b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"x" * 20_000 + END,
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x" + END,
    ],
)
def test_url_or_header_that_is_too_long_is_431_and_is_not_repeated(request_bytes):
    with served("(event)") as server, connected(server) as connection:
        connection.sendall(request_bytes)
        ((status, body),) = read_answers(connection, 1)
    assert status == 431 and b"8,190 bytes" in body and b"xx" not in body


def test_too_many_headers_are_431():
    headers = [f"X-{number}: y" for number in range(200)]
    with served("(event)") as server, connected(server) as connection:
        connection.sendall(sized(b"1", *headers))
        ((status, body),) = read_answers(connection, 1)
    assert status == 431 and b"128" in body


@pytest.mark.parametrize("request_bytes", [post(b"{", "Content-Length: 9"), sized(b"no", "Content-Encoding: gzip")])
def test_clients_that_go_away_or_send_broken_bodies_do_not_fill_the_log(request_bytes, caplog):
    with served(echo) as server:
        with connected(server) as connection:
            connection.sendall(request_bytes)
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)
        with connected(server) as connection:
            connection.sendall(sized(b"1"))
            assert read_answers(connection, 1) == [(200, b"1")]
    assert "Traceback" not in caplog.text


def test_body_that_does_not_come_is_408():
    with served(lambda body: body, request_timeout_seconds=0.1) as server, connected(server) as connection:
        connection.sendall(post(b"12", "Content-Length: 3"))
        status, body = read_answers(connection, 1)[0]
    assert status == 408 and "0.1 s" in json.loads(body)["error"]


def test_idle_connection_is_closed():
    with served(lambda body: body, keep_alive_seconds=0.1) as server, connected(server) as connection:
        connection.sendall(sized(b"1"))
        assert read_all(connection).endswith(END + b"1")


def test_request_that_takes_longer_than_an_idle_connection_lives_is_answered():
    async def slow(body):
        await asyncio.sleep(body)
        return "done"

    with served(slow, keep_alive_seconds=0.05) as server, connected(server) as connection:
        connection.sendall(sized(b"0.2"))
        assert read_answers(connection, 1) == [(200, b"done")]


def test_event_of_a_client_that_goes_away_is_finished():
    entered, finished, gate = threading.Event(), threading.Event(), asyncio.Event()

    async def work(body):
        entered.set()
        await gate.wait()
        finished.set()
        return body

    with served(work) as server:
        with connected(server) as connection:
            connection.sendall(sized(b"1"))
            assert entered.wait(10)
        server.engine.thread.loop.call_soon_threadsafe(gate.set)
        assert finished.wait(10)
    assert server.engine.gate.inside == 0


def test_client_that_does_not_read_does_not_fill_the_memory():
    made = []

    def large(body):
        made.append(body)
        return "x" * 1_000_000

    with served(large) as server, connected(server) as connection, connected(server) as other:
        connection.sendall(sized(b"1") * 200)
        other.sendall(sized(b"2"))
        read_answers(other, 1)
        assert len(made) < 50
        assert {status for status, _ in read_answers(connection, 200)} == {200}


def test_stock_path_serves_the_same_where_the_fast_one_does_not_work(monkeypatch, caplog):
    from millrace.serving.doors import http_trial

    monkeypatch.setattr(http_trial, "NAMES", ("_no_such_name",))
    with served(lambda body: body) as server, connected(server) as connection:
        connection.sendall(sized(b"1") + sized(b"[2", "Content-Type: application/json"))
        found = read_answers(connection, 2)
    assert not server.is_fast and found[0] == (200, b"1") and found[1][0] == 400
    assert sum("_no_such_name" in record.getMessage() for record in caplog.records) == 1


def test_fast_path_works_with_the_installed_aiohttp():
    with served(lambda body: body) as server:
        assert server.is_fast


def until(is_true):
    end = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.005)


@PLAIN_AND_ASYNC
def test_client_that_sends_no_more_gets_its_answers_and_then_the_end(handler):
    unusual = sized(b"2", "Expect: 100-continue")
    for sent, statuses in ((sized(b"1"), 1), (unusual, 2), (sized(b"1") + unusual + sized(b"3"), 4)):
        with served(handler) as server, connected(server) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection).count(b"HTTP/1.1 ") == statuses


def test_client_that_asks_nothing_and_sends_no_more_is_let_go_at_once():
    with served(echo) as server:
        for sent in (b"", b"GET / HT", sized(b"12")[:-1]):
            with connected(server) as connection:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(5)
                assert read_all(connection) == b""


@PLAIN_AND_ASYNC
@pytest.mark.parametrize("header", ["X: y", "Connection: close", "Expect: 100-continue"])
def test_client_that_never_reads_its_answer_does_not_keep_the_connection(handler, header):
    text = b'"%s"' % (b"x" * 20_000_000)
    with served(handler, keep_alive_seconds=0.1) as server:
        others = len(os.listdir("/dev/fd"))
        with connected(server) as connection:
            connection.sendall(sized(text, header))
            until(lambda: len(os.listdir("/dev/fd")) == others + 1)  # the client's side is still open


@PLAIN_AND_ASYNC
def test_client_that_reads_slowly_gets_its_whole_answer(handler):
    text = b'"%s"' % (b"x" * 20_000_000)
    with served(handler, keep_alive_seconds=0.2) as server, connected(server) as connection:
        connection.sendall(sized(text))
        size = 0
        while size < len(text):
            time.sleep(0.01)  # the slowness itself
            size += len(connection.recv(400_000))
        assert size > len(text)
