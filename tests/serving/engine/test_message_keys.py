"""Keys of messages that other systems wrote."""

from __future__ import annotations

import pytest

from millrace.queues.message import Message
from millrace.serving.engine.messages import to_event, to_message


@pytest.mark.parametrize(("key", "seen"), [(b"\xff\xfe\x00\x01", b"\xff\xfe\x00\x01"), ("č".encode(), "č"), (None, "")])
def test_key_that_is_no_text_stays_bytes_and_crosses_unchanged(key: bytes | None, seen: object) -> None:
    event = to_event(Message(b"1", key=key))
    assert (event.body, event.key) == (1, seen)
    assert to_message(event, event.body, full_event=True, queue="q").key == key
