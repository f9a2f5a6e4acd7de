"""HTTP by aiohttp: every request as a task, errors in JSON. What the fast path does not serve comes here."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from ...errors import MillraceError
from ..engine.stream import StreamAnswer
from .framing import stream_error
from .front import error_answer
from .http_answer import SERVER, Answer, json_answer
from .http_body import read_body
from .http_door import Door, drop
from .http_event import make_event
from .http_stream import send_stream

logger = logging.getLogger("millrace.http")

TOO_MANY = "Too many headers"  # aiohttp has no class for it


class Protocol(web.RequestHandler):
    """One connection."""

    __slots__ = ("_look_again", "streams")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.streams: set[StreamAnswer] = set()
        self._look_again: asyncio.TimerHandle | None = None

    @property
    def asks_no_more(self) -> bool:
        """Whether nothing more can come after the request that is served."""
        return False

    # -- clients that do not read: what was written for them would stay in memory for as long as they like ---------

    async def start(self) -> None:
        """Serve the connection; after it was closed, its last answer may still be unread."""
        transport = self.transport
        try:
            await super().start()
        finally:
            if transport is not None:
                self._end_unless_read(transport)

    def pause_writing(self) -> None:
        """The client takes answers slower than they come. One that reads a stream in its own time may do so."""
        super().pause_writing()
        if self.transport is not None and not self.streams:
            self._end_unless_read(self.transport)

    def resume_writing(self) -> None:
        """The client has taken what was written."""
        super().resume_writing()
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None

    def _end_unless_read(self, transport: asyncio.Transport, before: int = -1) -> None:
        """End the connection once nothing of what was written has been read for as long as it may be idle."""
        left = transport.get_write_buffer_size()
        if left == before:
            transport.abort()
        elif left:
            if self._look_again is not None:
                self._look_again.cancel()
            loop = asyncio.get_running_loop()
            self._look_again = loop.call_later(self.keepalive_timeout, self._end_unless_read, transport, left)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client went away: what it was reading ends at once, not at its next chunk."""
        for stream in self.streams:
            stream.close()
        super().connection_lost(exc)

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """Log a fault of ours, not that the client went away or that its body, which got a 400, can not be read."""
        if not isinstance(kwargs.get("exc_info"), (ConnectionError, web.RequestPayloadError)):
            super().log_exception(*args, **kwargs)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to what is no HTTP (400), or to a fault of ours (500); the connection is closed after it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun")
        if isinstance(exc, LineTooLong):
            status, text = 431, "the request's URL or one of its headers is too long: 8,190 bytes are the most"
        elif TOO_MANY in str(exc):
            status, text = 431, "the request has too many headers: 128 are the most"
        elif status == 400:
            first_line = (message or str(exc)).strip().splitlines()[0].rstrip(":")
            text = f"the request is not HTTP/1.1: {first_line}"
        else:
            self.log_exception("a request failed", exc_info=exc)
            text = "the server failed; its log says why"
        return stock(json_answer(status, {"error": text}), is_last=True)


def stock(answer: Answer, *, is_last: bool) -> web.Response:
    """An answer as aiohttp's response."""
    headers = answer.headers | {"Server": SERVER}
    if answer.content_type is not None:
        headers["Content-Type"] = answer.content_type
    response = web.Response(status=answer.status, headers=headers, body=answer.body)
    if is_last:
        response.force_close()
    return response


class StockHandler:
    """Serves requests through aiohttp's own request and response objects."""

    def __init__(self, door: Door, *, max_body_bytes: int) -> None:
        self.door = door
        self.max_body_bytes = max_body_bytes
        self.tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request."""
        door = self.door
        started = time.perf_counter() if door.access_log else 0.0
        response = await self._serve(request)
        if door.access_log:
            length = response.content_length or 0
            peer = request.transport.get_extra_info("peername") if request.transport else None
            door.log_access(peer, request.method, request.raw_path, response.status, length, started)
        return response

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        door = self.door
        try:
            body = await read_body(
                request, max_body_bytes=self.max_body_bytes, timeout_seconds=door.request_timeout_seconds
            )
            method = "GET" if request.method == "HEAD" else request.method
            event = make_event(method, request.raw_path, request.headers, body)
            answer = door.told(event)
            if answer is None:
                answer = await door.run(event)
                if isinstance(answer, StreamAnswer):
                    return await self.stream(request, answer)
                answer = door.answer(answer)
        except (MillraceError, SystemExit) as error:
            answer = door.failure(error)
        except asyncio.CancelledError as error:
            if not door.engine.draining:
                raise
            answer = door.failure(door.stopped(error))  # the server stops before the body is there
        is_unread = not request.content.is_eof()
        return stock(answer, is_last=is_unread or self._is_last(request))

    def _is_last(self, request: web.BaseRequest) -> bool:
        """Whether the connection is closed after the answer."""
        protocol = request.protocol
        return self.door.engine.draining or (isinstance(protocol, Protocol) and protocol.asks_no_more)

    async def stream(self, request: web.BaseRequest, answer: StreamAnswer) -> web.StreamResponse:
        """Send an answer in chunks."""
        protocol = request.protocol
        if not isinstance(protocol, Protocol) or request.transport is None:
            drop(answer)
            raise ConnectionError("the client went away")
        protocol.streams.add(answer)
        try:
            return await send_stream(request, answer, self._explain, is_last=self._is_last(request))
        except ConnectionError:
            raise
        except Exception as error:
            return stock(self.door.failure(stream_error(error)), is_last=False)
        finally:
            protocol.streams.discard(answer)

    def _explain(self, error: Exception) -> dict[str, Any]:
        engine = self.door.engine
        return error_answer(engine, stream_error(error), verbose=engine.context.verbose)[1]
