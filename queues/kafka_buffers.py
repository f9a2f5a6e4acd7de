"""Messages that were read ahead, by partition. Filled and emptied on the loop; the thread only asks if it is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .message import Message


class Buffers:
    """A queue of batches for each partition.

    :param capacity: how many messages may wait in partitions that are not paused, before no more are read

    >>> buffers = Buffers(capacity=3)
    >>> buffers.add([0, 1])
    >>> batch = {0: [Message(b"a"), Message(b"b")], 1: [Message(b"c")]}
    >>> buffers.send(batch)
    >>> buffers.put(batch)
    >>> buffers.is_full, len(buffers.take(2)), buffers.is_full
    (True, 2, False)
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.paused: set[int] = set()
        self.taken = 0
        self._batches: dict[int, deque[list[Message]]] = {}
        self._counts: dict[int, int] = {}
        self._turn = 0
        self._waiting = 0
        self._sent = 0
        self._arrived = 0

    @property
    def is_full(self) -> bool:
        """Whether to read no more now; what is on its way to the loop counts."""
        return self._waiting + self._sent - self._arrived >= self.capacity

    @property
    def active(self) -> list[int]:
        """The partitions that are read."""
        return [partition for partition in list(self._batches) if partition not in self.paused]

    def send(self, batch: dict[int, list[Message]]) -> None:
        """A batch is put on its way to the loop. Only the polling thread calls this."""
        self._sent += sum(map(len, batch.values()))

    def put(self, batch: dict[int, list[Message]]) -> None:
        """A batch has arrived; what is of partitions that have gone is dropped."""
        for partition, messages in batch.items():
            self._arrived += len(messages)
            if partition in self._batches:
                self._batches[partition].append(messages)
                self._counts[partition] += len(messages)
                if partition not in self.paused:
                    self._waiting += len(messages)

    def add(self, partitions: Iterable[int]) -> None:
        """Partitions have come."""
        for partition in partitions:
            self._batches.setdefault(partition, deque())
            self._counts.setdefault(partition, 0)

    def remove(self, partitions: Iterable[int]) -> None:
        """Partitions have gone, with what waits in them."""
        for partition in partitions:
            self.clear(partition)
            self.paused.discard(partition)
            self._batches.pop(partition, None)
            self._counts.pop(partition, None)

    def clear(self, partition: int) -> None:
        """Forget what waits in a partition."""
        if partition in self._batches:
            self._batches[partition].clear()
            if partition not in self.paused:
                self._waiting -= self._counts[partition]
            self._counts[partition] = 0

    def pause(self, partitions: Iterable[int]) -> None:
        """Take nothing from these; what waits in them stays, and fills no room."""
        for partition in set(partitions) - self.paused:
            self.paused.add(partition)
            self._waiting -= self._counts.get(partition, 0)

    def resume(self, partitions: Iterable[int]) -> None:
        """Take from these again."""
        for partition in set(partitions) & self.paused:
            self.paused.remove(partition)
            self._waiting += self._counts.get(partition, 0)

    def take(self, most: int) -> list[Message]:
        """What waits, in order by partition; each time another partition is the first, so that none starves."""
        if not self._waiting:
            return []
        partitions = [p for p, batches in self._batches.items() if batches and p not in self.paused]
        self._turn = (self._turn + 1) % len(partitions)
        messages: list[Message] = []
        for partition in partitions[self._turn :] + partitions[: self._turn]:
            batches = self._batches[partition]
            while batches and len(messages) < most:
                batch = batches.popleft()
                room = most - len(messages)
                if len(batch) > room:
                    batches.appendleft(batch[room:])
                    batch = batch[:room]
                messages += batch
                self._counts[partition] -= len(batch)
        self._waiting -= len(messages)
        self.taken += len(messages)
        return messages
