"""One write transaction on a topic: appending to it and deleting from it."""

from __future__ import annotations

from collections.abc import Mapping

from .log_batch import Batch
from .log_layout import CHUNK, CHUNK_BITS, END, OFFSET, TIME, Layout
from .log_store import Transaction

TRIM_MESSAGES = 2_000
NEVER = float("-inf")


class LogSession:
    """What the jobs of one transaction work on.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from millrace.queues.log_layout import Topic
    >>> from millrace.queues.log_batch import divide
    >>> from millrace.queues.log_store import Store
    >>> from millrace.queues.message import Message
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     layout = Layout(Store(Path(folder), map_bytes=1 << 20), Topic(partitions=1))
    ...     def append(txn: Transaction) -> dict[int, int]:
    ...         session = LogSession(txn, layout)
    ...         first = session.append(divide([Message(b"a"), Message(b"b")], 1, turn=0))
    ...         session.finish()
    ...         return first
    ...     layout.store.write(append)
    ...     layout.store.close()
    {0: 0}
    """

    def __init__(self, txn: Transaction, layout: Layout) -> None:
        self._txn = txn
        self._layout = layout
        self._ends = layout.ends(txn)
        self._latest: dict[tuple[int, int], float] = {}
        self.appended = 0

    def append(self, batches: Mapping[int, Batch]) -> dict[int, int]:
        """Append a batch to each partition named; answers the first offset of each."""
        first = {}
        for partition, batch in batches.items():
            offset, size = self._ends[partition]
            end = offset + len(batch.records)
            with self._txn.cursor(self._layout.logs[partition]) as cursor:
                cursor.putmulti(zip(map(OFFSET.pack, range(offset, end)), batch.records, strict=True), append=True)
            self._ends[partition] = (end, size + batch.size)
            for chunk in range(offset >> CHUNK_BITS, ((end - 1) >> CHUNK_BITS) + 1):
                place = (partition, chunk)
                self._latest[place] = max(batch.latest, self._latest.get(place, NEVER))
            first[partition] = offset
            self.appended += end - offset
        return first

    def trim(self, partition: int, *, before: int, most: int = TRIM_MESSAGES) -> int:
        """Delete the messages of a partition before an offset, at most so many; answers how many."""
        deleted = freed = 0
        with self._txn.cursor(self._layout.logs[partition]) as cursor:
            while deleted < most and cursor.first() and OFFSET.unpack(cursor.key())[0] < before:
                freed += len(cursor.value())
                cursor.delete()
                deleted += 1
        if deleted:
            end, size = self._ends[partition]
            self._ends[partition] = (end, size - freed)
            self._forget_times(partition)
        return deleted

    def expire(self, now: float) -> int:
        """Delete some of what the topic's retention lets go; answers how many messages."""
        return sum(self.trim(partition, before=before) for partition, before in enumerate(self._kept_from(now)))

    def has_expired(self, now: float) -> bool:
        """Whether there is something that the topic's retention lets go."""
        begins = [self._layout.begin(self._txn, partition) for partition in range(len(self._ends))]
        return any(before > begin for before, begin in zip(self._kept_from(now), begins, strict=True))

    def _kept_from(self, now: float) -> list[int]:
        """For each partition the first offset that stays."""
        topic = self._layout.load(self._txn) or self._layout.topic
        kept = [0] * topic.partitions
        for partition in range(topic.partitions):
            if topic.retention_seconds is not None:
                kept[partition] = self._layout.offset_at(self._txn, partition, now - topic.retention_seconds)
            if topic.retention_bytes is not None:
                beyond = self._beyond(partition, topic.retention_bytes // topic.partitions)
                kept[partition] = max(kept[partition], beyond)
        return kept

    def _beyond(self, partition: int, most_bytes: int) -> int:
        """The first offset that is kept, so that a partition holds no more than so many bytes; looks a step far."""
        over = self._ends[partition][1] - most_bytes
        if over <= 0:
            return 0
        for seen, (offset, record) in enumerate(self._layout.records(self._txn, partition, 0)):
            if over <= 0 or seen >= TRIM_MESSAGES:
                return offset
            over -= len(record)
        return self._ends[partition][0]

    def _forget_times(self, partition: int) -> None:
        with self._txn.cursor(self._layout.logs[partition]) as cursor:
            begin = OFFSET.unpack(cursor.key())[0] if cursor.first() else self._ends[partition][0]
        with self._txn.cursor(self._layout.times) as cursor:
            while cursor.set_range(CHUNK.pack(partition, 0)):
                number, chunk = CHUNK.unpack(cursor.key())
                if number != partition or chunk >= begin >> CHUNK_BITS:
                    return
                cursor.delete()

    def finish(self) -> None:
        """Write the ends, and the latest timestamps of what was appended."""
        for chunk, latest in self._latest.items():
            key = CHUNK.pack(*chunk)
            kept = self._txn.get(key, db=self._layout.times)
            if kept is None or TIME.unpack(kept)[0] < latest:
                self._txn.put(key, TIME.pack(latest), db=self._layout.times)
        ends = b"".join(END.pack(*end) for end in self._ends)
        self._txn.put(b"ends", ends, db=self._layout.about)
