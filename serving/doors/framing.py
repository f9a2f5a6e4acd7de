"""Streams as bytes: server-sent events, lines of JSON, or raw text and bytes. It knows no sockets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from ...errors import MillraceError, StepError
from ..engine.messages import dumps

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
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
        return _json(chunk) + b"\n"

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


def stream_error(error: Exception) -> Exception:
    """The error of a stream for its reader: one of ours as it is, any other described."""
    if isinstance(error, MillraceError):
        return error
    described = StepError(f"the stream failed: {type(error).__name__}: {error}", step="")
    described.__cause__ = error
    return described


def _bytes(chunk: Any) -> bytes:
    if isinstance(chunk, str):
        return chunk.encode()
    return bytes(chunk) if isinstance(chunk, (bytes, bytearray, memoryview)) else _json(chunk)


def _lines(text: bytes) -> list[bytes]:
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


def _json(chunk: Any) -> bytes:
    try:
        return dumps(chunk)
    except TypeError as error:
        raise (error.__cause__ if isinstance(error.__cause__, TypeError) else error) from None  # it says what can not
