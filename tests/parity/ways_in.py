"""The same graph behind each door, and what a client gets from it: status, type, headers and the body's bytes."""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

import aiohttp
from nuclio_worker import Worker
from up_process import RUNNING

from millrace.serving import Response
from millrace.serving.doors.framing import STREAM_HEADERS, framing_for, stream_error
from millrace.serving.doors.front import error_response, to_response
from millrace.serving.doors.http import HttpSettings
from millrace.serving.doors.http_answer import to_answer
from millrace.serving.doors.http_run import running
from millrace.serving.functions.runtime import make_engine

EVENT_ID = "00000000000000000000000000000001"
# These say something of the connection, not of the answer.
OF_THE_CONNECTION = ("date", "server", "content-length", "content-type", "connection", "transfer-encoding")
TIMESTAMP = re.compile(rb'"timestamp":"[^"]*"')


@dataclass(frozen=True)
class Request:
    """What is asked."""

    target: str = "/"
    body: bytes = b""
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})

    @property
    def named(self):
        """The headers, with the event's id: answers tell it."""
        return {**self.headers, "MLRUN-EVENT-ID": EVENT_ID}


@dataclass(frozen=True)
class Reply:
    """What a client gets."""

    status: int
    content_type: str | None
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, status, content_type, body, headers):
        """Without what differs from one request to the next: the time in a model's answer."""
        kept = sorted((name.lower(), value) for name, value in headers.items() if name.lower() not in OF_THE_CONNECTION)
        return cls(status, content_type, TIMESTAMP.sub(b'"timestamp":"now"', body), tuple(kept))

    def without_headers(self):
        """Status, content type and body."""
        return replace(self, headers=())


@contextmanager
def mock(make):
    """`function.to_mock_server().test`; its answer as the response that it stands for."""
    with make().to_mock_server() as server:

        def ask(request):
            path, _, query = request.target.partition("?")
            assert not query, "test() takes no query"
            answer = server.test(
                unquote(path), request.body or None, request.method, request.named, request.headers.get("Content-Type"),
                silent=True, get_body=False,
            )  # fmt: skip
            if not isinstance(answer, Response):
                return _streamed(server.engine, answer, request.headers.get("Accept", ""))
            answer = to_answer(to_response(server.engine, answer))
            return Reply.of(answer.status, answer.content_type, answer.body, answer.headers)

        yield ask


def _streamed(engine, chunks, accept):
    """A stream's chunks, framed: the mock server gives them as they are."""
    parts, framing = [], None
    try:
        for chunk in chunks:
            framing = framing or framing_for(accept, chunk)
            parts.append(framing.frame(chunk))
    except Exception as error:
        if framing is None:
            failed = to_answer(error_response(engine, stream_error(error)))
            return Reply.of(failed.status, failed.content_type, failed.body, failed.headers)
        parts.append(framing.failure({"error": str(stream_error(error))}))
    return Reply.of(200, framing.content_type, b"".join(parts), STREAM_HEADERS)


@contextmanager
def http(make):
    """`serve`, on a port of its own, and a real client."""
    engine, streams = make_engine(make(), [])
    with running(engine, streams, settings=HttpSettings(port=0)) as server, client(server.url) as ask:
        yield ask


@contextmanager
def up(make):
    """`millrace up FILE`: the command, its processes, and a real client."""
    with client(RUNNING.of(make).url) as ask:
        yield ask


@contextmanager
def client(url):
    """Asks a server over HTTP."""

    async def asked(request):
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, url + request.target, data=request.body or None, headers=request.named,
                skip_auto_headers=("Content-Type", "Accept"), allow_redirects=False,
            ) as response,
        ):  # fmt: skip
            return Reply.of(
                response.status, response.headers.get("Content-Type"), await response.read(), response.headers
            )

    with asyncio.Runner() as runner:
        yield lambda request: runner.run(asked(request))


@contextmanager
def nuclio(make):
    """The handler of a Nuclio worker, with real SDK objects."""
    with Worker(make()) as worker:

        def ask(request):
            found = worker.ask(request.method, request.target, request.body, request.named)
            return Reply.of(found.status, found.content_type, found.body, found.headers)

        yield ask


DOORS = {"mock": mock, "http": http, "up": up, "nuclio": nuclio}
"""By name."""
REACHED_BY_CLIENTS = [name for name in DOORS if name != "mock"]


@contextmanager
def every_door(make):
    """A function that asks the same of every door, and gives their one answer."""
    with ExitStack() as stack:
        asks = {name: stack.enter_context(door(make)) for name, door in DOORS.items()}

        def ask(request):
            takes_query = "?" in request.target
            replies = {name: one(request) for name, one in asks.items() if not (takes_query and name == "mock")}
            assert len(set(replies.values())) == 1, replies
            return replies["http"]

        yield ask
