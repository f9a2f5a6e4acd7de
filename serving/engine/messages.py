"""Events as messages: how they cross a stream, and come back."""

from __future__ import annotations

from typing import Any

from ...deferred import orjson
from ...errors import a_kind
from ...queues.message import Message
from .event import Event

CONTENT_TYPE, EVENT_ID = "content-type", "millrace-event-id"
KEY = "millrace-key"
"""A header with the key: Nuclio's triggers bring the headers of Kafka's messages, but not their keys."""
FULL_EVENT_FIELDS = ("path", "method")
JSON, TEXT, BYTES = "application/json", "text/plain", "application/octet-stream"
HEADERS = "millrace-headers"
TRACE = ("traceparent", "tracestate")


def dumps(body: Any) -> bytes:
    """JSON text of a body; numpy arrays become lists, exceptions their text.

    >>> dumps({"error": ValueError("bad")})
    b'{"error":"bad"}'
    """
    return orjson.dumps(body, _plain, orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseException):
        return str(value)
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return tolist()
    raise TypeError(f"{a_kind(value)} can not be written as JSON")


def to_message(event: Event, body: Any, *, full_event: bool, queue: str) -> Message:
    """The message for an event. A W3C trace context (``traceparent``) travels with it.

    :param full_event: path, method and headers cross too
    """
    if isinstance(body, (bytes, bytearray, memoryview)):
        value, content_type = bytes(body), event.content_type or BYTES
    elif isinstance(body, str):
        value, content_type = body.encode(), TEXT
    else:
        try:
            value, content_type = dumps(body), JSON
        except TypeError as error:
            raise TypeError(
                f"queue '{queue}': the body does not become a message: {error}; "
                "let the step before return what JSON can say, text or bytes"
            ) from error
    headers = {CONTENT_TYPE: content_type, EVENT_ID: event.id}
    if event.headers:
        traces = {name: str(event.headers[name]) for name in TRACE if name in event.headers}
        headers |= {name: text for name, text in traces.items() if text.isascii()}
    if full_event:
        headers |= {f"millrace-{name}": str(getattr(event, name) or "") for name in FULL_EVENT_FIELDS}
        headers[HEADERS] = dumps({str(key): _header_text(value) for key, value in event.headers.items()}).decode()
    if event.key in ("", None):
        return Message(value, headers=headers)
    if isinstance(event.key, bytes):
        return Message(value, key=event.key, headers=headers)
    headers[KEY] = str(event.key)
    return Message(value, key=headers[KEY].encode(), headers=headers)


def _header_text(value: object) -> str:
    """A header's value; bytes that are no UTF-8 are read as Latin-1, as HTTP did at first."""
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text


def body_of(message: Message, content_type: str | None = None) -> Any:
    """The body in a message.

    :param content_type: of a message that names none; default: JSON
    :raises ValueError: the value is not what the content type says
    """
    content_type = message.headers.get(CONTENT_TYPE, content_type)
    if content_type == JSON or content_type is None:
        return orjson.loads(message.value)
    return message.value.decode() if content_type == TEXT else message.value


def to_event(message: Message, content_type: str | None = None) -> Event:
    """The event in a message.

    :param content_type: of a message that names none; default: JSON
    :raises ValueError: the value is not what the content type says
    """
    headers = message.headers
    body, content_type = body_of(message, content_type), headers.get(CONTENT_TYPE, content_type)
    event = Event(
        body,
        content_type=content_type,
        headers=_event_headers(headers),
        method=headers.get("millrace-method") or None,
        path=headers.get("millrace-path") or "/",
        event_id=headers.get(EVENT_ID),
        offset=message.offset,
        key=_key_of(message.key),
    )
    return event


def _key_of(key: bytes | None) -> str | bytes:
    """A key as text; other systems write keys that are none, such as numbers in four bytes."""
    try:
        return key.decode() if key is not None else ""
    except UnicodeDecodeError:
        return bytes(key or b"")


def _event_headers(headers: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = orjson.loads(headers[HEADERS]) if HEADERS in headers else {}
    for name in TRACE:
        if name in headers:
            found.setdefault(name, headers[name])
    return found
