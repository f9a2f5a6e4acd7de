"""How a topic lies in its store, and the reading of it.

- ``topic``: what the topic is, as JSON; and ``ends``, for each partition the next offset and the bytes that it holds
- ``p0``, ``p1``, …: a table for each partition, ``offset`` (8 bytes, big-endian) -> record
- ``times``: ``partition, offset // 1024`` -> the latest timestamp of these offsets, to find an offset by time

A record is the timestamp, the lengths of key (plus 1; 0 is none) and headers, then key, headers (JSON), value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import takewhile

import orjson

from ..errors import SpecError
from .log_store import Store, Transaction
from .message import Message

FORMAT = 1
CHUNK_BITS = 10
READ_BYTES = 16 << 20
OFFSET = struct.Struct(">Q")
END = struct.Struct("<QQ")
TIME = struct.Struct("<d")
CHUNK = struct.Struct(">IQ")
RECORD = struct.Struct("<dII")


@dataclass(frozen=True, slots=True)
class Topic:
    """What is kept about a topic."""

    partitions: int
    retention_seconds: float | None = None
    retention_bytes: int | None = None
    format: int = FORMAT


def encode(message: Message) -> bytes:
    """A message as it is stored.

    >>> decode(encode(Message(b"v", b"k", {"a": "b"}, timestamp=1.5)), 3, 7)
    Message(value=b'v', key=b'k', headers={'a': 'b'}, partition=3, offset=7, timestamp=1.5)
    """
    headers = orjson.dumps(message.headers) if message.headers else b""
    key = message.key
    if key is None:
        return RECORD.pack(message.timestamp, 0, len(headers)) + headers + message.value
    return RECORD.pack(message.timestamp, len(key) + 1, len(headers)) + key + headers + message.value


def decode(record: bytes, partition: int, offset: int) -> Message:
    """A message as it was given."""
    timestamp, key_size, header_size = RECORD.unpack_from(record)
    start = RECORD.size
    key = None
    if key_size:
        key = record[start : start + key_size - 1]
        start += key_size - 1
    headers: dict[str, str] = {}
    if header_size:
        headers = orjson.loads(record[start : start + header_size])
    return Message(record[start + header_size :], key, headers, partition, offset, timestamp)


class Layout:
    """The tables of one topic, in a store.

    :param wanted: how to make the topic when it does not exist; its retention is taken where it is given
    """

    def __init__(self, store: Store, wanted: Topic) -> None:
        self.store = store
        self.about = store.table("topic")
        self.topic = store.read(self.load) or wanted
        merged = Topic(
            self.topic.partitions,
            wanted.retention_seconds or self.topic.retention_seconds,
            wanted.retention_bytes or self.topic.retention_bytes,
        )
        if merged != store.read(self.load):
            self.topic = store.write(lambda txn: self._save(txn, merged))
        self.times = store.table("times")
        self.logs = [store.table(f"p{partition}") for partition in range(self.topic.partitions)]

    def load(self, txn: Transaction) -> Topic | None:
        """What is kept about the topic, now."""
        kept = txn.get(b"topic", db=self.about)
        if kept is None:
            return None
        values = orjson.loads(kept)
        if values["format"] != FORMAT:
            raise SpecError(
                f"{self.store.path} is in format {values['format']} and this version reads {FORMAT}: use the version "
                "of Millrace that wrote it, or another directory"
            )
        return Topic(**values)

    def _save(self, txn: Transaction, topic: Topic) -> Topic:
        present = self.load(txn)
        if present is not None:  # another process was first
            topic = Topic(present.partitions, topic.retention_seconds, topic.retention_bytes)
        txn.put(b"topic", orjson.dumps(asdict(topic)), db=self.about)
        return topic

    def ends(self, txn: Transaction) -> list[tuple[int, int]]:
        """For each partition the next offset and the bytes that it holds."""
        kept = txn.get(b"ends", db=self.about)
        return list(END.iter_unpack(kept)) if kept else [(0, 0)] * self.topic.partitions

    def begin(self, txn: Transaction, partition: int) -> int:
        """The oldest offset of a partition."""
        with txn.cursor(self.logs[partition]) as cursor:
            if cursor.first():
                return int(OFFSET.unpack(cursor.key())[0])
        return self.ends(txn)[partition][0]

    def range(self, txn: Transaction, partitions: Iterable[int]) -> tuple[dict[int, int], dict[int, int]]:
        """The oldest and the next offset of partitions."""
        wanted, ends = list(partitions), self.ends(txn)
        return {p: self.begin(txn, p) for p in wanted}, {p: ends[p][0] for p in wanted}

    def records(self, txn: Transaction, partition: int, offset: int) -> Iterator[tuple[int, bytes]]:
        """Offsets and records from an offset on."""
        with txn.cursor(self.logs[partition]) as cursor:
            if not cursor.set_range(OFFSET.pack(max(0, offset))):
                return
            for key, record in cursor.iternext():
                yield OFFSET.unpack(key)[0], record

    def read(self, txn: Transaction, partition: int, offset: int, max_messages: int) -> list[Message]:
        """Messages from an offset on, as many as asked for and about 16 MiB, but one at least."""
        messages: list[Message] = []
        room = READ_BYTES
        with txn.cursor(self.logs[partition]) as cursor:
            if max_messages <= 0 or not cursor.set_range(OFFSET.pack(max(0, offset))):
                return messages
            for key, record in cursor.iternext():
                messages.append(decode(record, partition, OFFSET.unpack(key)[0]))
                room -= len(record)
                if len(messages) >= max_messages or room <= 0:
                    break
        return messages

    def offset_at(self, txn: Transaction, partition: int, timestamp: float) -> int:
        """The first offset whose message is not older than a time; the end if none is."""
        for chunk in self._chunks(txn, partition):
            if TIME.unpack(chunk[1])[0] < timestamp:
                continue
            for offset, record in self.records(txn, partition, chunk[0] << CHUNK_BITS):
                if RECORD.unpack_from(record)[0] >= timestamp:
                    return offset
        return self.ends(txn)[partition][0]

    def _chunks(self, txn: Transaction, partition: int) -> Iterator[tuple[int, bytes]]:
        with txn.cursor(self.times) as cursor:
            if not cursor.set_range(CHUNK.pack(partition, 0)):
                return
            keys = ((CHUNK.unpack(key), value) for key, value in cursor.iternext())
            for (_, chunk), value in takewhile(lambda item: item[0][0] == partition, keys):
                yield chunk, value
