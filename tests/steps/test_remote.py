"""RemoteStep and BatchHttpRequests against a real HTTP server on localhost."""

from __future__ import annotations

import gc
import json
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import millrace
from millrace.errors import BadStepArguments
from millrace.steps import RemoteStep


@contextmanager
def upstream(answer: Any) -> Iterator[tuple[str, list[Any]]]:
    """A server that answers each request by ``answer(number, path, body) -> (status, value)``."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append((self.command, self.path, json.loads(text) if text else None, dict(self.headers)))
            status, value = answer(len(seen), self.path, seen[-1][2])
            out = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def served(**arguments: Any) -> Any:
    fn = millrace.new_function("remote", kind="serving")
    class_name = arguments.pop("class_name", "$remote")
    fn.set_topology("flow").to(class_name, "ask", **arguments).respond()
    return fn.to_mock_server()


def test_body_is_sent_and_the_answer_is_the_new_body() -> None:
    with upstream(lambda n, path, body: (200, {"doubled": body * 2})) as (url, seen), served(url=url) as server:
        assert server.test("/a/b", 21, event_id="e1") == {"doubled": 42}
        method, path, _, headers = seen[0]
        assert (method, path, headers["MLRUN-EVENT-ID"], headers["MLRUN-EVENT-PATH"]) == ("POST", "/", "e1", "/a/b")


def test_subpath_of_the_event_is_appended() -> None:
    with upstream(lambda n, path, body: (200, path)) as (url, _), served(url=url, subpath="$path") as server:
        assert server.test("/v2/models/m/infer", 1) == "/v2/models/m/infer"


def test_expressions_give_url_body_and_headers() -> None:
    with upstream(lambda n, path, body: (200, [path, body])) as (url, seen):
        server = served(
            url_expression=f"'{url}/' + event['name']",
            body_expression="(event['x'])",
            headers_expression="({'X-Name': event['name']})",
        )
        with server:
            assert server.test(body={"name": "n", "x": [1]}) == ["/n", [1]]
            assert seen[0][3]["X-Name"] == "n"


@pytest.mark.parametrize(("upstream_status", "status"), [(404, 404), (422, 422), (500, 502), (503, 503), (501, 502)])
def test_status_of_the_server_reaches_the_caller(upstream_status: int, status: int) -> None:
    with upstream(lambda n, path, body: (upstream_status, "no")) as (url, _), served(url=url, retries=0) as server:
        answer = server.test(body=1, silent=True)
        assert answer.status_code == status
        assert str(upstream_status) in json.loads(answer.body)["error"]


def test_no_retries_means_one_request() -> None:
    with upstream(lambda n, path, body: (500, "no")) as (url, seen), served(url=url, retries=0) as server:
        server.test(body=1, silent=True)
        assert len(seen) == 1


def test_server_faults_are_tried_again_and_client_faults_are_not() -> None:
    unsteady, refusing = upstream(lambda n, path, body: (200 if n == 3 else 503, n)), upstream(lambda n, *_: (400, n))
    with unsteady as (url, _), served(url=url, backoff_factor=0.001) as server:
        assert server.test(body=1) == 3
    with refusing as (url, seen), served(url=url, backoff_factor=0.001) as server:
        server.test(body=1, silent=True)
        assert len(seen) == 1


def test_server_that_is_not_there_is_a_502_that_names_step_and_address() -> None:
    with served(url="http://127.0.0.1:9", retries=0) as server:
        answer = server.test(body=1, silent=True)
        assert answer.status_code == 502
        assert "'ask'" in json.loads(answer.body)["error"]
        assert "127.0.0.1:9" in json.loads(answer.body)["error"]


def test_slow_server_is_a_504() -> None:
    release = threading.Event()
    slow = upstream(lambda n, path, body: (release.wait(20) and 200, 1))
    with slow as (url, _), served(url=url, retries=0, timeout=0.1) as server:
        assert server.test(body=1, silent=True).status_code == 504
        release.set()


def test_batch_asks_for_every_item_in_order() -> None:
    times_ten = upstream(lambda n, path, body: (200, body * 10))
    with times_ten as (url, _), served(class_name="mlrun.serving.remote.BatchHttpRequests", url=url) as server:
        assert server.test(body=[3, 1, 2]) == [30, 10, 20]


def test_batch_fails_with_its_first_failed_item() -> None:
    without_one = upstream(lambda n, path, body: (404 if body == 1 else 200, body))
    with without_one as (url, _), served(class_name="storey.BatchHttpRequests", url=url, retries=0) as server:
        assert server.test(body=[3, 1, 2], silent=True).status_code == 404


def test_url_and_url_expression_exclude_each_other() -> None:
    with pytest.raises(millrace.errors.GraphError, match="either url= or url_expression="):
        served(url="http://127.0.0.1:9", url_expression="event")


@pytest.mark.parametrize("keep_step", [False, True])
@pytest.mark.filterwarnings("error")
def test_a_server_that_is_forgotten_closes_its_connections_without_a_word(keep_step, capfd, caplog) -> None:
    with upstream(lambda n, path, body: (200, body)) as (url, _):
        kept = RemoteStep(url) if keep_step else None
        server = served(class_name=kept) if kept else served(url=url)
        assert server.test(body=1) == 1
        thread = server.engine.thread._thread
        del server
        deadline = time.monotonic() + 10
        while thread.is_alive() and time.monotonic() < deadline:  # the loop may be about to end its last task
            gc.collect()
            thread.join(0.01)
        gc.collect()
    assert (thread.is_alive(), capfd.readouterr().err, caplog.text) == (False, "", "")


def test_one_step_serves_two_servers_and_what_comes_after_them() -> None:
    with upstream(lambda n, path, body: (200, body)) as (url, _):
        fn = millrace.new_function("remote", kind="serving")
        fn.set_topology("flow").to(RemoteStep(url, max_in_flight=1), "ask").respond()
        with fn.to_mock_server() as one:
            with fn.to_mock_server() as other:
                assert [one.test(body=1), other.test(body=2)] == [1, 2]
            assert one.test(body=3) == 3
        with fn.to_mock_server() as later:
            assert later.test(body=4) == 4


def test_a_step_that_is_in_use_can_be_pickled() -> None:
    with upstream(lambda n, path, body: (200, body)) as (url, _):
        step = RemoteStep(url)
        with served(class_name=step) as server:
            server.test(body=1)
            again = pickle.loads(pickle.dumps(step))
        with served(class_name=again) as server:
            assert server.test(body=2) == 2


def test_an_answer_that_is_no_json_is_not_asked_for_again() -> None:
    with upstream(lambda n, path, body: (200, b"<html>")) as (url, seen), served(url=url, backoff_factor=0) as server:
        answer = server.test(body=1, silent=True)
    assert (answer.status_code, len(seen)) == (502, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"url": "127.0.0.1:80"}, "url='127.0.0.1:80' must begin with http:// or https://"),
        ({"retries": -1}, "retries=-1 must be a whole number of 0 or more"),
        ({"timeout": 0}, "timeout=0 must be a number of 0.001 or more"),
        ({"timeout": "3"}, "timeout='3' must be a number"),
        ({"max_in_flight": 0}, "max_in_flight=0 must be a whole number of 1 or more"),
        ({"backoff_factor": float("nan")}, "backoff_factor=nan must be a number"),
    ],
)
def test_arguments_that_mean_nothing_are_refused_when_the_graph_is_compiled(arguments, words) -> None:
    with pytest.raises(BadStepArguments, match=f"step 'ask': {words}"):
        served(**{"url": "http://127.0.0.1:9", **arguments})


def test_an_expression_that_gives_no_address_is_an_error_that_is_not_tried_again() -> None:
    with served(url_expression="event", backoff_factor=1000) as server:
        answer = server.test(body="[no address", content_type="text/plain", silent=True)
    assert answer.status_code == 500 and b"'[no address' is no address of a server" in answer.body


def test_numbers_in_headers_are_written_as_text() -> None:
    headers = {"headers": {"X-A": 1}, "headers_expression": "({'X-B': event})"}
    with upstream(lambda n, path, body: (200, body)) as (url, seen), served(url=url, **headers) as server:
        server.test(body=2)
    assert (seen[0][3]["X-A"], seen[0][3]["X-B"]) == ("1", "2")
