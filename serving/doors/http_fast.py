"""The fast path: whole, ordinary requests are answered where they are read, without a task or a request object.

It uses names that aiohttp does not publish, for half the time of a request. ``http_trial.py`` tries them out when a
server starts; where they are missing or mean something else, every request is served the stock way, which differs in
nothing but its speed. So is every request that is in any way unusual: in chunks, compressed, with ``Expect``, HTTP/1.0,
the last of its connection, HEAD, in several packets, or to a client that does not read its answers.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import EMPTY_PAYLOAD
from aiohttp.http import HttpVersion11, RawRequestMessage, StreamWriter
from multidict import istr

from ..engine.event import Event
from ..engine.messages import dumps
from ..engine.stream import StreamAnswer
from .http_deadlines import Deadlines
from .http_door import Door, drop
from .http_event import make_event
from .http_protocol import Protocol, StockHandler

METHODS = frozenset(("POST", "GET", "PUT", "PATCH", "DELETE"))
# Below this a copy is cheaper than a second write.
JOINED_BYTES = 65_536
_EXPECT, _ENCODING = istr("Expect"), istr("Content-Encoding")


class Exchange:
    """One request whose answer is not there yet; it is what the engine delivers the answer to."""

    __slots__ = ("deadline", "event", "is_over", "message", "protocol", "started")

    def __init__(self, protocol: FastProtocol, message: RawRequestMessage, started: float) -> None:
        self.protocol = protocol
        self.message = message
        self.started = started
        self.deadline = 0.0
        self.event: Event | None = None
        self.is_over = False

    def deliver(self, answer: Any, error: BaseException | None) -> None:
        """Take the answer, unless it comes too late."""
        if self.is_over:
            drop(answer)
            return
        self.end()
        self.protocol.answered(self.message, self.started, answer, error)

    def expire(self) -> None:
        """No answer came in time: what works on the event stops."""
        self.is_over = True
        if self.event is not None:
            self.protocol.door.engine.abandon(self.event)
        self.protocol.answered(self.message, self.started, None, self.protocol.door.late())

    def end(self) -> None:
        """Take no answer any more."""
        self.is_over = True
        self.protocol.deadlines.discard(self)


class FastProtocol(Protocol):
    """One connection with the fast path before the stock one.

    While it serves a request, messages that arrive wait in aiohttp's own queue; aiohttp's task of the connection sleeps
    until it is given a request that the fast path does not take.
    """

    __slots__ = ("deadlines", "door", "exchange", "has_ended", "is_serving", "max_body_bytes", "stock_handler")

    def __init__(
        self, *args: Any, door: Door, deadlines: Deadlines, stock_handler: StockHandler, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.door = door
        self.deadlines = deadlines
        self.stock_handler = stock_handler
        self.max_body_bytes = stock_handler.max_body_bytes
        self.exchange: Exchange | None = None
        self.is_serving = False
        self.has_ended = False

    # -- reading -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes came: let the parser make messages of them, and serve those that are whole."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            super().data_received(data)  # the connection's task serves a request
            return
        parser: Any = self._parser
        stand_in: Any = None
        if parser is not None and self._is_idle():
            said = _said(parser, data)
            if self._serve_only(said):
                return
            stand_in = _Said(parser, said)
            self._parser = stand_in
        self._waiter = None  # or the parser's messages would wake that task
        try:
            super().data_received(data)
        finally:
            self._waiter = waiter
            if stand_in is not None and self._parser is stand_in:
                self._parser = parser
        if self._messages and self.exchange is None and not self.is_serving:
            self._serve(waiter)

    def _is_idle(self) -> bool:
        return not (
            self._messages or self.exchange is not None or self.is_serving or self._close or self._force_close
            or self._upgraded or self._payload_parser is not None
        )  # fmt: skip

    def _serve_only(self, said: Any) -> bool:
        """Serve a request that came alone and whole, past aiohttp's queue; whether it was one."""
        if said.__class__ is not tuple or len(said[0]) != 1 or said[1] or self._paused:
            return False
        message, payload = said[0][0]
        if not self._takes(message, payload):
            return False
        self._request_count += 1
        if self._parser is not None:
            self._parser.message_consumed()
        self.is_serving = True
        try:
            self._serve_one(message, self._whole(payload))
        finally:
            self.is_serving = False
        return True

    def resume_reading(self, *args: Any, **kwargs: Any) -> None:
        """Read on after a pause. aiohttp asks for it at the end of every body, nearly always without a pause."""
        if self._reading_paused or kwargs.get("resume_parser", True):
            super().resume_reading(*args, **kwargs)

    def _serve(self, waiter: asyncio.Future[None]) -> None:
        """Serve the messages that wait, until one must wait for its answer or is for the stock path."""
        self.is_serving = True
        try:
            while self._messages and self.exchange is None and not waiter.done() and not self._close:
                message, payload = self._messages[0]
                if self._paused or not self._takes(message, payload):
                    waiter.set_result(None)
                    return
                self._messages.popleft()
                self._close = self.asks_no_more
                if self._parser is not None:
                    self._parser.message_consumed()
                if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                    self._resume_reading_if_drained()
                self._serve_one(message, self._whole(payload))
        finally:
            self.is_serving = False

    def _takes(self, message: Any, payload: Any) -> bool:
        return (
            message.__class__ is RawRequestMessage
            and message.method in METHODS
            and message.version is HttpVersion11
            and not (message.should_close or message.chunked or message.upgrade)
            and message.compression is None
            and payload.is_eof()
            and payload.exception() is None
            and payload.total_bytes <= self.max_body_bytes
            and _EXPECT not in message.headers
            and _ENCODING not in message.headers
        )

    def _whole(self, payload: Any) -> bytes:
        """The body of a request that has been received. Reading it the public way would parse nothing once more."""
        if self._reading_paused:
            raw: bytes = payload.read_nowait()
            return raw
        if not payload.total_bytes:
            return b""
        chunks = payload._buffer
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _serve_one(self, message: Any, raw: bytes) -> None:
        door = self.door
        engine = door.engine
        started = time.perf_counter() if door.access_log else 0.0
        try:
            event = make_event(message.method, message.path, message.headers, raw)
            answer = None if message.method == "POST" and event.path[:5] != "/v2/h" else door.told(event)
            if answer is None:
                if not engine.inline or engine.draining:
                    self._begin(Exchange(self, message, started), event)
                    return
                door.asked += 1
                answer = engine.run(event)
        except (Exception, SystemExit) as error:
            answer = door.failure(error)
        self.answered(message, started, answer, None)

    def _begin(self, exchange: Exchange, event: Event) -> None:
        self.exchange = exchange
        exchange.event = event
        self._request_in_progress = True
        self.deadlines.add(exchange)
        self.door.begin(event, exchange.deliver)

    # -- answering -----------------------------------------------------------------------------------------------

    def answered(self, message: RawRequestMessage, started: float, answer: Any, error: BaseException | None) -> None:
        """Send an answer, and go on with the next request."""
        door = self.door
        is_last = self._close or door.engine.draining
        body = None
        if answer.__class__ is dict:
            if error is None and door.engine.plan.answers and not is_last:
                body = _json(answer)
        elif isinstance(answer, StreamAnswer):
            self._stream(Exchange(self, message, started), answer)
            return
        if body is not None:
            status = 200
            head = door.heads.of_json(len(body))
        else:
            found = door.answer(answer) if error is None else door.failure(door.stopped(error))
            status, body = found.status, found.body
            head = door.heads.of(found, is_last=is_last)
        self._write(head, body)
        if door.access_log:
            self._log(message, started, status, len(body))
        self._finished(is_last)

    def _write(self, head: bytes, body: bytes) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if len(body) < JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)

    def _log(self, message: RawRequestMessage, started: float, status: int, length: int) -> None:
        peer = self.transport.get_extra_info("peername") if self.transport is not None else None
        self.door.log_access(peer, message.method, message.path, status, length, started)

    def _finished(self, is_last: bool) -> None:
        """A request is done: keep the connection's timer and close or go on."""
        if self.exchange is not None:
            self.exchange = None
            self._request_in_progress = False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
        if is_last or self._force_close:
            self._close = True
            if self.transport is not None:
                self.transport.close()
                self._end_unless_read(self.transport)
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        waiter = self._waiter
        if self._messages and not self.is_serving and waiter is not None:
            self._serve(waiter)

    # -- streams -------------------------------------------------------------------------------------------------

    def _stream(self, exchange: Exchange, answer: StreamAnswer) -> None:
        """Send a stream the stock way, in a task; until its end the connection serves nothing else."""
        self.exchange = exchange
        self._request_in_progress = True
        task = self._loop.create_task(self._send_stream(exchange, answer))
        # The loop keeps only weak references to tasks.
        self.stock_handler.tasks.add(task)
        task.add_done_callback(self.stock_handler.tasks.discard)

    async def _send_stream(self, exchange: Exchange, answer: StreamAnswer) -> None:
        is_last = True
        try:
            if self._request_factory is None:
                drop(answer)
                return
            writer = StreamWriter(self, self._loop)
            task: Any = asyncio.current_task()
            request = self._request_factory(exchange.message, EMPTY_PAYLOAD, self, writer, task)
            response = await self.stock_handler.stream(request, answer)
            if not response.prepared:
                await response.prepare(request)
                await response.write_eof()
            is_last = self._close or not response.keep_alive or self.door.engine.draining
            if self.door.access_log:
                self._log(exchange.message, exchange.started, response.status, 0)
        except ConnectionError:
            return
        finally:
            self._finished(is_last)

    # -- the connection ------------------------------------------------------------------------------------------

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. It may still read, so that it gets the answers to what it has asked.

        A stream ends: most clients that stop sending have gone for good.
        """
        self.has_ended = not self.streams and self._owes()
        if self.asks_no_more:
            self._close = True  # after the answer under way
        return self.has_ended

    def _owes(self) -> bool:
        """Whether requests that came whole are not answered."""
        if self._messages:
            return bool(self._messages[-1][1].is_eof())
        if self.exchange is not None:
            return True
        request = self._current_request
        if request is not None:
            return request.content.is_eof()
        return self._waiter is None and self._request_count > 0  # the connection's task takes it up just now

    @property
    def asks_no_more(self) -> bool:
        """Whether nothing more can come after the request that is served."""
        return self.has_ended and not self._messages

    def connection_lost(self, exc: BaseException | None) -> None:
        """The client went away: its event goes on, its answer is dropped."""
        if self.exchange is not None:
            self.exchange.end()
        super().connection_lost(exc)

    def _process_keepalive(self) -> None:
        if self.exchange is not None:
            self._keepalive_handle = None  # set again when the request is done
            return
        super()._process_keepalive()


class _Said:
    """Stands for the parser while aiohttp hears what it has said to some bytes already."""

    __slots__ = ("_parser", "_said")

    def __init__(self, parser: Any, said: Any) -> None:
        self._parser = parser
        self._said = said

    def feed_data(self, data: bytes) -> Any:
        """What the parser said, or raised."""
        if isinstance(self._said, Exception):
            raise self._said
        return self._said

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


def _said(parser: Any, data: bytes) -> Any:
    try:
        return parser.feed_data(data)
    except Exception as error:  # aiohttp, which is told, knows what it means
        return error


def _json(answer: dict[str, Any]) -> bytes | None:
    """The answer as JSON; ``None`` where it is none, which is told elsewhere."""
    try:
        return dumps(answer)
    except TypeError:
        return None
