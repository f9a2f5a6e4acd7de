"""Answers in chunks: server-sent events, lines of JSON, or raw text and bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from aiohttp import web

from ..engine.messages import dumps
from ..engine.stream import StreamAnswer
from .http_answer import SERVER

EVENT_STREAM = "text/event-stream"


class StreamBroken(ConnectionError):
    """The stream failed in a form that can not say so; the connection is cut, so that nobody takes it for whole."""


class Framing(ABC):
    """How chunks become bytes."""

    content_type: ClassVar[str]

    @abstractmethod
    def frame(self, chunk: Any) -> bytes:
        """One chunk."""

    @abstractmethod
    def failure(self, answer: dict[str, Any]) -> bytes:
        """The error that ends a stream whose status has been sent.

        :raises StreamBroken: this form has no place for it
        """


class ServerSentEvents(Framing):
    """``data: …`` and an empty line. https://html.spec.whatwg.org/multipage/server-sent-events.html

    >>> ServerSentEvents().frame({"x": 1}), ServerSentEvents().frame("two\\nlines")
    (b'data: {"x":1}\\n\\n', b'data: two\\ndata: lines\\n\\n')
    """

    content_type = f"{EVENT_STREAM}; charset=utf-8"

    def frame(self, chunk: Any) -> bytes:
        """One event."""
        return b"%b\n\n" % b"\n".join(b"data: " + line for line in _lines(_bytes(chunk)))

    def failure(self, answer: dict[str, Any]) -> bytes:
        """An event of the type ``error``."""
        return b"event: error\n" + self.frame(answer)


class JsonLines(Framing):
    """Each chunk a line of JSON."""

    content_type = "application/x-ndjson"

    def frame(self, chunk: Any) -> bytes:
        """One line."""
        if isinstance(chunk, (bytes, bytearray, memoryview)):
            chunk = bytes(chunk).decode(errors="replace")
        return dumps(chunk) + b"\n"

    def failure(self, answer: dict[str, Any]) -> bytes:
        """A last line, with ``error``."""
        return self.frame(answer)


class Raw(Framing):
    """Text or bytes as they are."""

    def __init__(self, content_type: str) -> None:
        self.content_type = content_type  # type: ignore[misc]

    def frame(self, chunk: Any) -> bytes:
        """The chunk itself; JSON for what is neither text nor bytes."""
        return _bytes(chunk)

    def failure(self, answer: dict[str, Any]) -> bytes:
        """Text and bytes have no place for an error."""
        raise StreamBroken(answer["error"])


def framing_for(accept: str, first: Any) -> Framing:
    """The form of a stream: server-sent events where asked for, else by the first chunk.

    >>> framing_for("*/*", {"x": 1}).content_type, framing_for("*/*", "text").content_type
    ('application/x-ndjson', 'text/plain; charset=utf-8')
    """
    if EVENT_STREAM in accept.lower():
        return ServerSentEvents()
    if isinstance(first, str):
        return Raw("text/plain; charset=utf-8")
    if isinstance(first, (bytes, bytearray, memoryview)):
        return Raw("application/octet-stream")
    return JsonLines()


async def send_stream(
    request: web.BaseRequest, stream: StreamAnswer, explain: Callable[[Exception], dict[str, Any]], *, is_last: bool
) -> web.StreamResponse:
    """Send the chunks of a stream as they come. A client that goes away ends the stream, and so its generator.

    :param explain: the answer that stands for an error
    :param is_last: close the connection after it
    """
    response = web.StreamResponse(headers={"Server": SERVER, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
    if is_last:
        response.force_close()
    framing: Framing = JsonLines()
    try:
        first = True
        while True:
            chunk = await _next(stream)
            if first:
                first = False
                framing = framing_for(request.headers.get("Accept", ""), chunk)
                response.headers["Content-Type"] = framing.content_type
                await response.prepare(request)
            if chunk is _END or request.method == "HEAD":
                break
            await response.write(framing.frame(chunk))
    except (_Failed, TypeError) as failed:
        error = failed.__cause__ if isinstance(failed.__cause__, Exception) else failed
        if not response.prepared:
            raise error from None
        await response.write(framing.failure(explain(error)))
    finally:
        stream.close()
    await response.write_eof()
    return response


_END = object()


class _Failed(Exception):
    """The graph failed; the cause says how. So its errors are told from those of the connection."""


async def _next(stream: StreamAnswer) -> Any:
    try:
        return await stream.next()
    except StopAsyncIteration:
        return _END
    except Exception as error:
        raise _Failed from error


def _bytes(chunk: Any) -> bytes:
    if isinstance(chunk, str):
        return chunk.encode()
    return bytes(chunk) if isinstance(chunk, (bytes, bytearray, memoryview)) else dumps(chunk)


def _lines(text: bytes) -> list[bytes]:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
