"""Keys and headers that are no text."""

from __future__ import annotations

import pytest

from millrace.queues.message import Message
from millrace.serving.engine.event import Event
from millrace.serving.engine.messages import to_event, to_message


@pytest.mark.parametrize(("key", "seen"), [(b"\xff\xfe\x00\x01", b"\xff\xfe\x00\x01"), ("č".encode(), "č"), (None, "")])
def test_key_that_is_no_text_stays_bytes_and_crosses_unchanged(key: bytes | None, seen: object) -> None:
    event = to_event(Message(b"1", key=key))
    assert (event.body, event.key) == (1, seen)
    assert to_message(event, event.body, full_event=True, queue="q").key == key


def test_headers_that_are_no_text_cross_as_latin_1_and_a_trace_of_them_does_not() -> None:
    odd = b"\xe9".decode("utf-8", "surrogateescape")
    event = Event({}, headers={"x-name": odd, "tracestate": odd, "traceparent": "00-ab"})
    message = to_message(event, {}, full_event=True, queue="q")
    assert "tracestate" not in message.headers
    back = to_event(message)
    assert (back.headers["x-name"], back.headers["traceparent"]) == ("é", "00-ab")
