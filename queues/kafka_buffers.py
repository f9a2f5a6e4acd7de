"""Records that were read ahead, by partition. Filled and emptied on the loop; the thread only asks if it is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Parcel:
    """Some records of a partition, in order.

    :param size: bytes of their values
    """

    records: list[Any]
    size: int


@dataclass(slots=True)
class _Waiting:
    """What waits in a partition."""

    parcels: deque[Parcel] = field(default_factory=deque)
    messages: int = 0
    size: int = 0

    def put(self, parcel: Parcel, *, first: bool = False) -> None:
        (self.parcels.appendleft if first else self.parcels.append)(parcel)
        self.messages += len(parcel.records)
        self.size += parcel.size

    def take(self) -> Parcel:
        parcel = self.parcels.popleft()
        self.messages -= len(parcel.records)
        self.size -= parcel.size
        return parcel


class Buffers:
    """A queue of parcels for each partition.

    :param capacity: how many records may wait in partitions that are not paused, before no more are read
    :param capacity_bytes: how many bytes of them

    >>> buffers = Buffers(capacity=3, capacity_bytes=1_000)
    >>> buffers.add([0, 1])
    >>> parcels = {0: Parcel(["a", "b"], size=2), 1: Parcel(["c"], size=1)}
    >>> buffers.send(parcels)
    >>> buffers.put(parcels)
    >>> buffers.is_full, len(buffers.take(2)), buffers.is_full
    (True, 2, False)
    """

    def __init__(self, capacity: int, capacity_bytes: int) -> None:
        self.capacity, self.capacity_bytes = capacity, capacity_bytes
        self.paused: set[int] = set()
        self.taken = 0
        self._waiting: dict[int, _Waiting] = {}
        self._turn = 0
        self._sent = self._sent_bytes = self._arrived = self._arrived_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether to read no more now; what is on its way to the loop counts."""
        active = [self._waiting.get(partition) or _Waiting() for partition in self.active]
        messages = sum([one.messages for one in active]) + self._sent - self._arrived
        size = sum([one.size for one in active]) + self._sent_bytes - self._arrived_bytes
        return messages >= self.capacity or size >= self.capacity_bytes

    @property
    def active(self) -> list[int]:
        """The partitions that are read. Any thread."""
        return [partition for partition in list(self._waiting) if partition not in self.paused]

    def send(self, parcels: Mapping[int, Parcel]) -> None:
        """Parcels are put on their way to the loop. Only the polling thread calls this."""
        for parcel in parcels.values():
            self._sent += len(parcel.records)
            self._sent_bytes += parcel.size

    def put(self, parcels: Mapping[int, Parcel]) -> None:
        """Parcels have arrived; what is of partitions that have gone is dropped."""
        for partition, parcel in parcels.items():
            if partition in self._waiting:
                self._waiting[partition].put(parcel)
            self._arrived += len(parcel.records)
            self._arrived_bytes += parcel.size

    def add(self, partitions: Iterable[int]) -> None:
        """Partitions have come."""
        for partition in partitions:
            self._waiting.setdefault(partition, _Waiting())

    def remove(self, partitions: Iterable[int]) -> None:
        """Partitions have gone, with what waits in them."""
        for partition in partitions:
            self.paused.discard(partition)
            self._waiting.pop(partition, None)

    def clear(self, partition: int) -> None:
        """Forget what waits in a partition."""
        if partition in self._waiting:
            self._waiting[partition] = _Waiting()

    def pause(self, partitions: Iterable[int]) -> None:
        """Take nothing from these; what waits in them stays, and fills no room."""
        self.paused.update(partitions)

    def resume(self, partitions: Iterable[int]) -> None:
        """Take from these again."""
        self.paused.difference_update(partitions)

    def take(self, most: int) -> list[Any]:
        """What waits, in order by partition; each time another partition is the first, so that none starves."""
        filled = [p for p, waiting in self._waiting.items() if waiting.parcels and p not in self.paused]
        if not filled:
            return []
        self._turn = (self._turn + 1) % len(filled)
        records: list[Any] = []
        for partition in filled[self._turn :] + filled[: self._turn]:
            waiting = self._waiting[partition]
            while waiting.parcels and len(records) < most:
                parcel = waiting.take()
                room = most - len(records)
                if len(parcel.records) > room:
                    rest = len(parcel.records) - room
                    left = Parcel(parcel.records[room:], parcel.size * rest // len(parcel.records))
                    waiting.put(left, first=True)
                records += parcel.records[:room]
        self.taken += len(records)
        return records
