"""Messages as records of a v3io stream.

A record has room for 16 bytes beside its data (``ClientInfo``, 128 bits in the platform's PutRecords reference), so key
and headers stand behind the value, in the data, and ``ClientInfo`` says how long they are and who sent which record:
``Mr``, the length, 6 random bytes of the sender, its number for the record. A message with neither key nor headers is
its bare value, and so is what others append.
"""

from __future__ import annotations

import struct
from typing import Any

import orjson

from .message import Message
from .v3io_client import Record

INFO = struct.Struct(">2sI6sI")
MAGIC = b"Mr"
NUMBERS = 1 << 32


def encode(message: Message, *, sender: bytes, number: int, plain: bool = False) -> dict[str, Any]:
    """A message for the client's ``put_records``.

    >>> record = encode(Message(b"v", b"k", {"a": "b"}), sender=b"sender", number=7)
    >>> record["data"], len(record["client_info"])
    (b'v["k",{"a":"b"}]', 16)
    """
    rest = b""
    if not plain and (message.key is not None or message.headers):
        key = None if message.key is None else message.key.decode("latin-1")
        rest = orjson.dumps([key, message.headers])
    return {
        "data": message.value + rest,
        "client_info": INFO.pack(MAGIC, len(rest), sender, number % NUMBERS),
    }


def decode(record: Record, shard: int) -> Message:
    """A record as the message that was appended, whoever did."""
    value, key, headers = record.data, None, {}
    rest = _rest(record)
    if rest is not None:
        key, headers = rest[0], rest[1]
        value = record.data[: len(record.data) - rest[2]]
    elif record.key:
        key = record.key.encode()
    return Message(value, key, headers, shard, record.offset, record.timestamp)


def sent_as(record: Record) -> tuple[bytes, int] | None:
    """By whom a record was sent, and as which."""
    if len(record.info) != INFO.size or not record.info.startswith(MAGIC):
        return None
    _, _, sender, number = INFO.unpack(record.info)
    return sender, number


def _rest(record: Record) -> tuple[bytes | None, dict[str, str], int] | None:
    """Key, headers and their length in the data."""
    if sent_as(record) is None:
        return None
    length = INFO.unpack(record.info)[1]
    if not 0 < length <= len(record.data):
        return None
    try:
        key, headers = orjson.loads(record.data[-length:])
        return (None if key is None else key.encode("latin-1")), headers, length
    except (ValueError, AttributeError):  # somebody else's bytes that look like ours
        return None
