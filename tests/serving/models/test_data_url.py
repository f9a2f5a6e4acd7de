"""data_url: off unless hosts are listed, and never a way to anywhere else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import millrace
from millrace.serving import V2ModelServer


class Reads(V2ModelServer):
    """Answers with the text of the file that it was given."""

    def predict(self, request):
        return [request["inputs"][0].read().decode()]


def served(*hosts: str) -> millrace.serving.MockServer:
    function = millrace.new_function("models", kind="serving")
    function.spec.data_hosts = list(hosts)
    function.set_topology("router")
    function.add_model("m1", class_name=Reads, model=True)
    return function.to_mock_server()


def asked(server: Any, url: Any) -> Any:
    return server.test("/v2/models/m1/infer", {"data_url": url}, silent=True)


@contextmanager
def files() -> Iterator[tuple[str, list[str]]]:
    """A server of files, and the paths that were asked of it; ``/away`` redirects."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", "/secret")
            else:
                self.send_response(404 if self.path == "/none" else 200)
            self.end_headers()
            self.wfile.write(f"file {self.path}".encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}", paths
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("port_is_listed", [True, False])
def test_a_file_of_a_listed_host_is_read(port_is_listed):
    with files() as (address, _), served(address if port_is_listed else "127.0.0.1") as server:
        assert asked(server, f"http://{address}/cat.txt")["outputs"] == ["file /cat.txt"]


def test_it_is_off_where_no_host_is_listed():
    response = asked(served(), "http://127.0.0.1/cat.txt")
    assert response.status_code == 403
    assert b"data_url is off" in response.body


def test_a_redirect_is_not_followed():
    with files() as (address, paths), served(address) as server:
        assert asked(server, f"http://{address}/away").status_code == 502
        assert paths == ["/away"]


def test_a_file_that_is_not_there_is_the_upstreams_fault():
    with files() as (address, _), served(address) as server:
        assert asked(server, f"http://{address}/none").status_code == 502


def test_a_host_that_does_not_answer_is_the_upstreams_fault():
    with files() as (address, _):
        pass
    with served(address) as server:
        assert asked(server, f"http://{address}/cat.txt").status_code == 502


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/cat.txt",
        "http://data.example:81/cat.txt",
        "file:///etc/passwd",
        "/etc/passwd",
        "ftp://data.example/cat.txt",
        "http://user:word@data.example:8080/cat.txt",
        "http://data.example:8080@other.example/cat.txt",
        "http://other.example\\@data.example:8080/cat.txt",
        "http://data.example:8080.other.example/cat.txt",
        "http://[::1",
        "http://data.example:port/cat.txt",
        "http://data.example:8080/cat.txt\r\nHost: other",
        "http://dаta.example:8080/cat.txt",  # noqa: RUF001 - a Cyrillic letter on purpose
        "",
        5,
        None,
        ["http://data.example:8080/"],
    ],
    ids=repr,
)
def test_any_other_address_is_forbidden(url):
    with served("data.example:8080") as server:
        assert asked(server, url).status_code == 403
