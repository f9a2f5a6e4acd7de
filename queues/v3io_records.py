"""Messages as records of a v3io stream.

A record has room for 16 bytes beside its data (``ClientInfo``, 128 bits in the platform's PutRecords reference). They
hold a mark, the message's timestamp, and who sent the record as which. Key and headers stand behind the value in the
data, then their length; the mark says whether. A message with neither key nor headers is its bare value, and so is what
others append.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from .message import Message

if TYPE_CHECKING:
    from .v3io_client import Record

INFO = struct.Struct(">BdI")
LENGTH = struct.Struct(">I")
BARE, WRAPPED = 0x8E, 0x8F  # no text in UTF-8 begins so
INFO_BYTES = 16
NUMBERS = 1 << 24


@dataclass(frozen=True, slots=True)
class Stamp:
    """What stands beside the data of a record.

    :param is_wrapped: whether key and headers stand behind the value
    :param sender: who sent it, 32 random bits
    :param number: as which, modulo 2**24

    >>> Stamp.parse(Stamp(True, 1.5, sender=7, number=8).text)
    Stamp(is_wrapped=True, timestamp=1.5, sender=7, number=8)
    """

    is_wrapped: bool
    timestamp: float
    sender: int
    number: int

    @property
    def text(self) -> bytes:
        """The 16 bytes."""
        mark = WRAPPED if self.is_wrapped else BARE
        return INFO.pack(mark, self.timestamp, self.sender) + self.number.to_bytes(INFO_BYTES - INFO.size, "big")

    @classmethod
    def parse(cls, text: bytes) -> Stamp | None:
        """The stamp of a record; ``None`` when somebody else made the record."""
        if len(text) != INFO_BYTES or text[0] not in (BARE, WRAPPED):
            return None
        mark, timestamp, sender = INFO.unpack_from(text)
        return cls(mark == WRAPPED, timestamp, sender, int.from_bytes(text[INFO.size :], "big"))


def encode(message: Message, *, sender: int, number: int, plain: bool = False) -> dict[str, Any]:
    """A message for the client's ``put_records``.

    >>> record = encode(Message(b"v", b"k", {"a": "b"}), sender=7, number=8)
    >>> record["data"], len(record["client_info"])
    (b'v["k",{"a":"b"}]\\x00\\x00\\x00\\x0f', 16)
    """
    rest = b""
    if not plain and (message.key is not None or message.headers):
        key = None if message.key is None else message.key.decode("latin-1")
        rest = orjson.dumps([key, message.headers])
        rest += LENGTH.pack(len(rest))
    return {
        "data": message.value + rest,
        "client_info": Stamp(bool(rest), message.timestamp, sender, number % NUMBERS).text,
    }


def decode(record: Record, shard: int) -> Message:
    """A record as the message that was appended, whoever did; what has no timestamp has that of its arrival."""
    stamp = Stamp.parse(record.info)
    timestamp = record.timestamp if stamp is None else stamp.timestamp
    wrapped = unwrapped(record.data) if stamp is not None and stamp.is_wrapped else None
    if wrapped is not None:
        value, key, headers = wrapped
        return Message(value, key, dict(headers), shard, record.offset, timestamp)
    return Message(record.data, record.key.encode() if record.key else None, {}, shard, record.offset, timestamp)


def unwrapped(data: bytes) -> tuple[bytes, bytes | None, Mapping[str, str]] | None:
    """Value, key and headers; ``None`` when the data is not of our making, although its stamp or its place says so.

    >>> unwrapped(b'v["k",{"a":"b"}]\\x00\\x00\\x00\\x0f'), unwrapped(b'{"x": 1}')
    ((b'v', b'k', {'a': 'b'}), None)
    """
    end = len(data) - LENGTH.size
    try:
        start = end - int(LENGTH.unpack_from(data, end)[0])
        if start < 0:
            return None
        key, headers = orjson.loads(data[start:end])
        value = data[:start], None if key is None else key.encode("latin-1"), headers
    except (struct.error, ValueError, AttributeError, TypeError):
        return None
    return value if isinstance(headers, dict) else None
