"""The HTTP servers that are compared: how to start each, what it understands, and whether it answers rightly."""

from __future__ import annotations

import http.client
from dataclasses import dataclass

from .machine import cores
from .payloads import INFER_PATH, LARGE, PAYLOADS, SMALL, Payload, is_right
from .processes import ServerProcess, free_port
from .venvs import PeerUnavailable, python_of

ALL = tuple(payload.name for payload in PAYLOADS)
JSON_ONLY = (SMALL.name, LARGE.name)
LARGE_ONLY = tuple(name for name in ALL if name != SMALL.name)


@dataclass(frozen=True)
class Server:
    """How to start one: arguments of Python, run in `peers/`."""

    environment: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A path of a server, and the payloads that it understands."""

    name: str
    server: Server
    payloads: tuple[str, ...] = ALL
    path: str = INFER_PATH
    is_floor: bool = False


AIOHTTP = Server("", ("http_aiohttp.py", "{port}"))
ROWS = (
    Row("millrace", Server("", ("-m", "millrace", "serve", "http_millrace.py", "--port", "{port}"))),
    Row("aiohttp handler", AIOHTTP),
    Row("aiohttp, receive only", AIOHTTP, LARGE_ONLY, path="/receive", is_floor=True),
    Row("aiohttp, orjson + array", AIOHTTP, (LARGE.name,), path="/array", is_floor=True),
    Row("fastapi", Server("fastapi", ("http_fastapi.py", "{port}")), JSON_ONLY),
    Row("mlserver", Server("mlserver", ("http_mlserver.py", "{port}", "{other_port}")), JSON_ONLY),
    Row("kserve", Server("kserve", ("http_kserve.py", "{port}"))),
    Row("litserve", Server("litserve", ("http_litserve.py", "{port}")), JSON_ONLY),
)


@dataclass
class Running:
    """A server that answers."""

    process: ServerProcess
    port: int

    def answers(self, row: Row, payload: Payload) -> bool:
        """Whether one request gets the right numbers back."""
        request = payload.to(row.path)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("POST", request.path, request.body, request.headers)
            answer = connection.getresponse()
            return is_right(payload, answer.status, answer.headers, answer.read(), is_floor=row.is_floor)
        except (http.client.HTTPException, ValueError, LookupError, TypeError):
            return False
        finally:
            connection.close()


def start(row: Row, *, install: bool) -> Running:
    """Start the server of `row` on the first core and see that it answers every payload of the row rightly.

    Raises PeerUnavailable when it does not.
    """
    python = python_of(row.server.environment, install=install)
    ports = {"port": free_port(), "other_port": free_port()}
    process = ServerProcess([python, *(text.format(**ports) for text in row.server.arguments)], core=cores()[0])
    running = Running(process, ports["port"])
    try:
        payloads = [payload for payload in PAYLOADS if payload.name in row.payloads]
        process.wait_until(lambda: running.answers(row, payloads[0]))
        for payload in payloads[1:]:
            if not running.answers(row, payload):
                raise PeerUnavailable(f"wrong answer to {payload.name}")
    except BaseException:
        process.stop()
        raise
    return running
