"""The mock server: the graph behind the same front as over HTTP, in this process, without a port."""

from __future__ import annotations

import atexit
import logging
import weakref
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from ...deferred import asyncio
from ...errors import GraphError, RequestFailed, words
from ...queues.memory import MemoryQueue
from ...steps.base import DROPPED
from ..engine.context import GraphContext
from ..engine.engine import Engine
from ..engine.event import Event, Response
from ..engine.flushing import finish_accepted
from ..engine.stream import StreamAnswer
from .front import (
    BYTE_LIKE,
    HEALTH,
    error_response,
    health,
    plain,
    read_body,
    to_response,
    unsendable,
    with_event_headers,
)
from .http_request import HTTP, RequestEvent, named_in_any_case, split_target
from .queues import MemoryStreams, Streams

logger = logging.getLogger("millrace.mock")
TEXT_LIKE = (str, *BYTE_LIKE)
SETTLE_SECONDS = 0.01
CLOSE_SECONDS = 30.0
END_SECONDS = 5.0
_open: weakref.WeakSet[MockServer] = weakref.WeakSet()


class MockServer:
    """Runs a graph in this process, for notebooks and tests; made by ``function.to_mock_server()``.

    It never leaves the process: every queue is in memory, with the real serialisation.

    >>> import millrace
    >>> function = millrace.new_function("demo", kind="serving")
    >>> _ = function.set_topology("flow").to(name="double", handler="(event * 2)").respond()
    >>> with function.to_mock_server() as server:
    ...     server.test(body=21)
    42
    """

    def __init__(self, engine: Engine, streams: Streams, *, default_content_type: str | None = None) -> None:
        self.engine = engine
        self.context: GraphContext = engine.context
        self._streams = streams
        self._content_type = default_content_type
        self._closed = False
        engine.backlog = lambda: streams.backlog
        self.context.server = self
        self._has_loop = not engine.inline or not isinstance(streams, MemoryStreams)  # real ones may feed any graph
        if self._has_loop:
            self._begin()
        _open.add(self)

    def _begin(self) -> None:
        try:
            self.engine.thread.call(self._start())
        except BaseException:
            self.close()
            raise

    async def _start(self) -> None:
        await self.engine.start()
        await self._streams.start(self.engine)

    # -- asking --------------------------------------------------------------------------------------------------

    def test(
        self,
        path: str = "/",
        body: Any = None,
        method: str = "",
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        silent: bool = False,
        get_body: bool = True,
        event_id: str | None = None,
        trigger: Any = None,
        offset: int | None = None,
        time: datetime | None = None,
    ) -> Any:
        """Send one event and return its answer.

        :param body: text and bytes are parsed as JSON when the content type is JSON or absent, and as binary
            tensors where the headers say so
        :param method: default: POST with a body, GET without
        :param silent: return a :class:`Response` with an error status instead of raising
        :param get_body: return the answer's body; otherwise the :class:`Response` that HTTP would send
        :param event_id: the event's id; default: a new one
        :raises RequestFailed: the answer has a status of 300 or more

        >>> import millrace
        >>> function = millrace.new_function("ratio")
        >>> _ = function.set_topology("flow").to(name="ratio", handler="(1 / event)").respond()
        >>> server = function.to_mock_server()
        >>> server.test(body=4), server.test(body="4")  # a text is read as JSON
        (0.25, 0.25)
        >>> server.test(body=0, silent=True).status_code
        500
        """
        try:
            event = self._event(path, body, method, headers, content_type, event_id, trigger, offset, time)
            answer = event if type(event) is Response else self.engine.run(event)
        except Exception as error:
            return self._failed(error, silent)
        if get_body and answer.__class__ not in _SPECIAL:
            return self._plain(answer, silent)
        return answer.reader() if isinstance(answer, StreamAnswer) else self._finished(answer, silent, get_body)

    async def atest(
        self,
        path: str = "/",
        body: Any = None,
        method: str = "",
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        silent: bool = False,
        get_body: bool = True,
        event_id: str | None = None,
        trigger: Any = None,
        offset: int | None = None,
        time: datetime | None = None,
    ) -> Any:
        """The same as :meth:`test`, for coroutines; a stream comes as an async iterator.

        >>> import asyncio, millrace
        >>> function = millrace.new_function("double")
        >>> _ = function.set_topology("flow").to(name="double", handler="(event * 2)").respond()
        >>> server = function.to_mock_server()
        >>> async def ask_all():
        ...     return await asyncio.gather(*(server.atest(body=number) for number in range(3)))
        >>> asyncio.run(ask_all())
        [0, 2, 4]
        """
        try:
            event = self._event(path, body, method, headers, content_type, event_id, trigger, offset, time)
            answer = event if type(event) is Response else await self.engine.run_async(event)
        except Exception as error:
            return self._failed(error, silent)
        if get_body and type(answer) not in _SPECIAL:
            return self._plain(answer, silent)
        return aiter(answer) if isinstance(answer, StreamAnswer) else self._finished(answer, silent, get_body)

    def emit(self, body: Any) -> Any:
        """Run one body through the graph and return the answer's body; the shortest way, with errors as they are."""
        answer = self.engine.run_body(body)
        return answer if type(answer) not in _SPECIAL else _body_of(answer)

    async def aemit(self, body: Any) -> Any:
        """The same as :meth:`emit`, for coroutines."""
        engine = self.engine
        answer = engine.run_body(body) if engine.lean is not None else await engine.run_async(Event(body))
        if type(answer) not in _SPECIAL:
            return answer
        return aiter(answer) if isinstance(answer, StreamAnswer) else _body_of(answer)

    def run(self, event: Event, context: Any = None, get_body: bool = False, extra_args: Any = None) -> Any:
        """Run an event made by hand; the answer as a :class:`Response`, with `get_body` its body; a stream as it is."""
        try:
            if isinstance(event.body, TEXT_LIKE):
                event.body = read_body(event.body, event.content_type or self._content_type, event.headers)
            answer = self.engine.run(event)
        except Exception as error:
            return error_response(self.engine, error)
        if get_body or isinstance(answer, StreamAnswer):
            return answer if isinstance(answer, Response) else _body_of(answer)
        try:
            return self._response(answer)
        except (TypeError, ValueError) as error:
            return error_response(self.engine, error)

    def _event(
        self, path: str, body: Any, method: str, headers: Mapping[str, str] | None, content_type: str | None,
        event_id: str | None, trigger: Any, offset: int | None, time: datetime | None,
    ) -> Any:  # fmt: skip
        if path.__class__ is not str:
            raise TypeError(f"path= is text like '/v2/models', not {type(path).__name__}; the body goes into body=")
        if body.__class__ is not dict and isinstance(body, TEXT_LIKE):
            body = read_body(body, content_type or self._content_type, headers)
        method = method or ("GET" if body is None else "POST")
        query = ""
        if "%" in path or "?" in path or "#" in path:
            path, query = split_target(path)
        event = RequestEvent(
            body, content_type, named_in_any_case(headers) if headers else None, method, path, event_id,
            trigger or HTTP, offset or 0, time,
        )
        if query:
            event.query_string = query
        if headers:
            with_event_headers(event, headers)
        if path.startswith(HEALTH):
            found = health(self.engine, path)
            if found is not None:
                return Response(body=found[1], status_code=found[0])
        return event

    def _plain(self, answer: Any, silent: bool) -> Any:
        try:
            return plain(answer)
        except (TypeError, RecursionError) as error:  # an array of what JSON can not say, or a body that holds itself
            return self._failed(TypeError(unsendable(answer, error)), silent)

    def _failed(self, error: Exception, silent: bool) -> Any:
        response = error_response(self.engine, error)
        if silent:
            return response
        text = str(error.body) if isinstance(error, RequestFailed) else words(error)  # it says the status by itself
        raise RequestFailed(response.status_code, self.context.secrets.mask(text)) from (
            error.__cause__ if error.__cause__ is not None and type(error).__name__ == "StepError" else error
        )

    def _finished(self, answer: Any, silent: bool, get_body: bool) -> Any:
        try:
            response = self._response(answer)
        except (TypeError, ValueError) as error:
            return self._failed(error, silent)
        if response.status_code >= 300 and not silent:
            raise RequestFailed(response.status_code, getattr(answer, "body", response.body))
        if not get_body:
            return response
        if isinstance(answer, Response):
            return answer if response.status_code >= 300 else answer.body
        return None

    def _response(self, answer: Any) -> Response:
        """The response that HTTP would send; its errors say what can not be sent."""
        from .http_answer import to_answer  # noqa: PLC0415 - for start-up: only for what is no plain answer

        try:
            response = to_response(self.engine, answer)
        except TypeError as error:
            raise TypeError(unsendable(answer, error)) from error
        try:
            to_answer(response)
        except ValueError as error:
            raise ValueError(f"the graph's answer can not be sent: {error}") from error
        return response

    # -- waiting and looking -------------------------------------------------------------------------------------

    def wait_for_completion(self, timeout_seconds: float | None = None, *, raise_errors: bool = False) -> None:
        """Flush batches and joins and wait until every event is done; the server can be used afterwards.

        :raises TimeoutError: events are left after `timeout_seconds`
        :raises ExceptionGroup: with `raise_errors`, what failed after its answer was given, since the last call

        >>> import millrace
        >>> function, seen = millrace.new_function("watch"), []
        >>> answer = function.set_topology("flow").to(name="answer", handler="(event + 1)").respond()
        >>> _ = answer.to(name="afterwards", handler=seen.append)
        >>> server = function.to_mock_server()
        >>> server.test(body=1), server.wait_for_completion(timeout_seconds=10), seen
        (2, None, [2])
        """
        if self._has_loop and not self._closed:
            try:
                self.engine.thread.call(self._until_done(), timeout_seconds)
            except TimeoutError:
                left = self.engine.gate.inside
                raise TimeoutError(f"{left} events are not done after {timeout_seconds:g} s") from None
        if raise_errors and self.engine.errors:
            errors = list(self.engine.errors)
            self.engine.errors.clear()
            raise ExceptionGroup("events failed after their answers", errors)

    @property
    def errors(self) -> list[Exception]:
        """What failed after its answer was given."""
        return list(self.engine.errors)

    def queue(self, name: str) -> MemoryQueue:
        """The in-memory queue of a queue step, whose ``messages`` show what was written.

        >>> import millrace
        >>> function = millrace.new_function("orders")
        >>> _ = function.set_topology("flow").to(">>", "orders", path="orders")
        >>> with function.to_mock_server() as server:
        ...     _ = server.test(body={"id": 7})
        >>> [message.value for message in server.queue("orders").messages]
        [b'{"id":7}']
        """
        return self._memory.existing(name)

    @property
    def queues(self) -> dict[str, MemoryQueue]:
        """All in-memory queues by name."""
        return dict(self._memory.queues)

    @property
    def _memory(self) -> MemoryStreams:
        if not isinstance(self._streams, MemoryStreams):
            raise GraphError("this server's queues are real; read them by their address, with queues.open_queue()")
        return self._streams

    async def _until_done(self) -> None:
        while True:
            await self.engine.flush()
            if await self._streams.settled():
                return
            await asyncio.sleep(SETTLE_SECONDS)

    # -- life ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the server's threads and processes. Without it they end with the program.

        Events whose callers have their answers already are done first, for up to 5 s; if they are not, the log tells.
        Callers that still wait get an error.
        """
        if not self._closed:
            self._let_end()
            self._closed = True
            _open.discard(self)
            if not isinstance(self._streams, MemoryStreams):
                self._close_streams()
            self.engine.close()

    def _let_end(self) -> None:
        if self.engine.inline or self.engine.thread.is_lost:
            return
        try:
            self.engine.thread.call(finish_accepted(self.engine), END_SECONDS)
        except TimeoutError:
            left, name = self.engine.accepted, self.context.name
            logger.warning("%s: %d accepted events are given up, not done after %g s", name, left, END_SECONDS)

    def _close_streams(self) -> None:
        try:
            self.engine.thread.call(self._streams.close(), CLOSE_SECONDS)
        except TimeoutError:
            logger.warning("the streams could not be closed in %g s; what was not committed comes again", CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.wait_for_completion()
        self.close()


_SPECIAL = frozenset((Response, StreamAnswer, type(DROPPED)))
"""Types of answers that do not go to the caller as they are."""


def _body_of(answer: Any) -> Any:
    if isinstance(answer, StreamAnswer):
        return answer.reader()
    return answer.body if isinstance(answer, Response) else None if answer is DROPPED else answer


@atexit.register
def _close_all() -> None:
    for server in list(_open):
        server.close()
