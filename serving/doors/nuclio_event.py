"""From one of Nuclio's events to an event of the graph, or to a message of a stream."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from multidict import CIMultiDict, istr

from ...queues.message import Message
from ..engine.event import MockTrigger
from ..engine.messages import KEY, dumps
from .front import EVENT_ID_HEADER, EVENT_PATH_HEADER
from .http_request import RequestEvent
from .nuclio_body import read_body

REQUEST_KINDS = frozenset(("http", "cron", "", "kickstart"))
"""Triggers whose events want an answer."""
KAFKA_KINDS = frozenset(("kafka-cluster", "kafka"))
V3IO_KINDS = frozenset(("v3ioStream", "v3io-stream", "v3io"))
ACKNOWLEDGED_KINDS = KAFKA_KINDS | V3IO_KINDS
"""Triggers of streams whose offsets are acknowledged by us. Those of others are, when the handler has returned."""

_EVENT_ID, _EVENT_PATH = istr(EVENT_ID_HEADER), istr(EVENT_PATH_HEADER)


def request_event(event: Any) -> RequestEvent:
    """The event for a request, as it would be over HTTP.

    :param event: a ``nuclio_sdk.Event`` from an HTTP trigger or a clock
    :raises BadRequest: the body is not what its headers say
    """
    headers: Any = CIMultiDict(event.headers if event.trigger.kind == "http" else texts(event.headers))
    content_type = event.content_type or None
    method, path, event_id = event.method, event.path, event.id
    if method.__class__ is bytes:  # where NUCLIO_PYTHON_DECODE_EVENT_STRINGS is off, all texts are bytes
        content_type = text(content_type) if content_type else None
        method, path, event_id = text(method), text(path), text(event_id)
    method = method or "POST"
    body = read_body(event.body, content_type, headers)
    made = RequestEvent(
        body, content_type, headers, "GET" if method == "HEAD" else method,
        (headers.get(_EVENT_PATH) or "/") if path in ("", "/") else path,
        headers.get(_EVENT_ID) or event_id, trigger_of(event),
    )  # fmt: skip
    if event.fields:
        made.query_string = urlencode(texts(event.fields))
    return made


def message(event: Any) -> Message:
    """The message that a stream's event holds, as its writer appended it.

    Nuclio does not deliver the keys of Kafka's messages: a key is found in the header in which graphs write it too.

    :param event: a ``nuclio_sdk.Event`` from a trigger of a stream
    """
    value = event.body if isinstance(event.body, bytes) else dumps(event.body)
    headers = texts(event.headers) if event.headers else {}
    key = headers[KEY].encode() if KEY in headers else None
    if trigger_of(event).kind in V3IO_KINDS:
        value, key, headers = _of_v3io(value, headers)
    return Message(value, key, headers, event.shard_id or 0, event.offset or 0)


def topic_of(event: Any) -> str:
    """The topic under which an event's offset is acknowledged; in older processors it is the path."""
    return text(event.topic or event.path)


def trigger_of(event: Any) -> MockTrigger:
    """Where an event came from."""
    return _trigger(event.trigger.kind, event.trigger.name)


@lru_cache(64)
def _trigger(kind: str | bytes, name: str | bytes) -> MockTrigger:
    return MockTrigger(text(kind), text(name))


def texts(values: dict[Any, Any]) -> dict[str, str]:
    """Names and values as text: those of Kafka's headers are bytes.

    >>> texts({"content-type": b"text/plain", "n": 1})
    {'content-type': 'text/plain', 'n': '1'}
    """
    return {text(name): text(value) for name, value in values.items()}


def text(value: Any) -> str:
    """Bytes or anything else as text.

    >>> text(b"http"), text(5)
    ('http', '5')
    """
    if isinstance(value, str):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _of_v3io(value: bytes, headers: dict[str, str]) -> tuple[bytes, bytes | None, dict[str, str]]:
    """Key and headers stand behind the value in v3io's records; Nuclio delivers their data only."""
    from ...queues.v3io_records import unwrapped  # noqa: PLC0415 - it needs v3io's client

    found = unwrapped(value)
    return (found[0], found[1], dict(found[2])) if found is not None else (value, None, headers)
