"""A message: what crosses a stream. Bytes, a key and headers; queues know nothing of events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)  # not frozen: that makes a message four times as dear, and every one is made twice
class Message:
    """One message of a stream. Nobody changes it once it is made: several readers may share it.

    :param value: the payload
    :param key: messages of one key stay in order
    :param headers: names and values as text
    :param partition: -1 until it is chosen, by the key or in turn
    :param offset: its place in the partition; -1 before it is appended
    :param timestamp: seconds since the epoch

    >>> Message(b"{}", headers={"content-type": "application/json"}).offset
    -1
    """

    value: bytes
    key: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    partition: int = -1
    offset: int = -1
    timestamp: float = field(default_factory=time.time)
