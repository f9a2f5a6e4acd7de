"""The contract of a stream. Every backend keeps it, and one suite of tests checks each.

- A **queue** (a topic) has partitions; a partition is an ordered log of messages with offsets that only grow.
- :meth:`Queue.append` returns when the messages are durable. Messages of one key go to one partition, in order.
- A **consumer** is a member of a group. The partitions are divided among the members; when they are divided anew,
  ``on_revoked`` is awaited before a partition is given up, and ``on_assigned`` when one is got.
- A **commit** is the watermark: all before it is done. What is done beyond it travels with the commit, so that a
  restart repeats little.
- Every buffer is bounded and says how full it is.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from ..errors import RequestError, Unavailable
from .message import Message

Start = Literal["earliest", "latest"]
METADATA_BYTES = 3_000


class TopicNotFound(RequestError):
    """There is no such topic, and it was not to be made."""

    status = 404

    def __init__(self, url: str) -> None:
        place = url.rpartition("/")[0]
        others = f"`millrace queue list {place}` shows those that there are"
        if url.startswith("memory:"):
            others = "those in memory are known to the process that made them"
        super().__init__(f"there is no topic {url}; {others}")


class TopicGone(Unavailable):
    """The topic was deleted while it was open; it does not come back for those who have it open."""


class NotOffered(RequestError):
    """A backend can not do this."""

    status = 501


@dataclass(frozen=True, slots=True)
class Commit:
    """How far a group is in a partition.

    :param watermark: the first offset that is not done
    :param done: offsets beyond it that are done

    >>> Commit.parse(10, Commit(10, frozenset({12, 13, 20})).metadata)
    Commit(watermark=10, done=frozenset({20, 12, 13}))
    """

    watermark: int
    done: frozenset[int] = frozenset()

    @property
    def metadata(self) -> str:
        """`done` as text of at most 3,000 characters; the farthest offsets are left out when they do not fit."""
        spans: list[str] = []
        size = 0
        for first, count in _spans(self.done):
            span = f"{first - self.watermark:x}+{count:x}"
            size += len(span) + 1
            if size > METADATA_BYTES:
                break
            spans.append(span)
        return ",".join(spans)

    @classmethod
    def parse(cls, watermark: int, metadata: str | None) -> Commit:
        """A commit as a backend stored it; metadata that somebody else wrote counts as none."""
        done: set[int] = set()
        try:
            for span in (metadata or "").split(","):
                if span:
                    first, count = span.split("+")
                    done.update(range(watermark + int(first, 16), watermark + int(first, 16) + int(count, 16)))
        except ValueError:
            return cls(watermark)
        return cls(watermark, frozenset(done))


def _spans(offsets: Iterable[int]) -> Iterable[tuple[int, int]]:
    """Runs of consecutive offsets, as (first, count)."""
    first = count = 0
    for offset in sorted(offsets):
        if count and offset == first + count:
            count += 1
            continue
        if count:
            yield first, count
        first, count = offset, 1
    if count:
        yield first, count


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a queue's buffers hold.

    :param appended: messages appended by this process
    :param read: messages read by this process
    :param buffered: messages that wait in this process to be written or taken
    :param capacity: how many may
    """

    appended: int = 0
    read: int = 0
    buffered: int = 0
    capacity: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a queue is opened.

    :param partitions: how many to make when it does not exist; default: the backend's
    :param retention_seconds: how long messages stay; ``None`` is for ever (or the broker's own setting)
    :param retention_bytes: how much of them stays
    :param options: the backend's own settings, by name; an unknown one is an error. They may hold passwords, and are
        not in the `repr`
    :param must_exist: whether a topic that does not exist is :class:`TopicNotFound`, instead of being made

    >>> import asyncio
    >>> from millrace.queues import open_queue
    >>> asyncio.run(open_queue("memory://in-four-parts", Settings(partitions=4))).partitions
    4
    """

    partitions: int | None = None
    retention_seconds: float | None = None
    retention_bytes: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    must_exist: bool = False


OnAssigned = Callable[[Mapping[int, Commit]], Awaitable[None]]
OnRevoked = Callable[[Iterable[int]], Awaitable[None]]


class Queue(ABC):
    """One topic. All methods are called on one event loop.

    :ivar url: its address

    >>> import asyncio
    >>> from millrace.queues import open_queue
    >>> async def written_and_read():
    ...     async with await open_queue("memory://written-and-read", Settings(partitions=1)) as queue:
    ...         await queue.append([Message(b"one"), Message(b"two")])
    ...         return [message.value for message in await queue.read(0, 0)]
    >>> asyncio.run(written_and_read())
    [b'one', b'two']
    """

    url: str

    @property
    @abstractmethod
    def partitions(self) -> int:
        """How many partitions it has; known once it is open."""

    @abstractmethod
    async def open(self) -> Self:
        """Connect, and make the topic when it does not exist."""

    @abstractmethod
    async def append(self, messages: Sequence[Message]) -> list[Message]:
        """Append messages and return them, with partition and offset, once they are durable.

        A message with ``partition`` of -1 goes where its key says, or in turn. The messages of one call that go to one
        partition stay in order. Waits while the buffer is full.

        :raises QueueFull: the storage is full; nothing of the call was appended
        """

    @abstractmethod
    async def read(self, partition: int, offset: int, max_messages: int = 500) -> list[Message]:
        """Messages of a partition from an offset on, without waiting; an offset that is gone means the oldest one."""

    @abstractmethod
    async def begin_offsets(self) -> dict[int, int]:
        """The oldest offset of each partition."""

    @abstractmethod
    async def end_offsets(self) -> dict[int, int]:
        """The offset that each partition's next message will get."""

    @abstractmethod
    async def offset_at(self, partition: int, timestamp: float) -> int:
        """The first offset whose message is not older than a time, in seconds since the epoch; the end if none is."""

    @abstractmethod
    async def committed(self, group: str) -> dict[int, Commit]:
        """How far a group is; partitions without a commit are left out."""

    @abstractmethod
    async def commit(self, group: str, commits: Mapping[int, Commit]) -> None:
        """Set how far a group is, from outside: to replay or to skip. The group should have no members."""

    @abstractmethod
    def consumer(
        self,
        group: str,
        *,
        start: Start = "earliest",
        on_assigned: OnAssigned | None = None,
        on_revoked: OnRevoked | None = None,
    ) -> Consumer:
        """A new member of a group; it joins when it is first polled.

        :param start: where partitions begin that the group never committed
        """

    async def lag(self, group: str) -> dict[int, int]:
        """How many messages of each partition a group has not done yet."""
        begin, end, commits = await self.begin_offsets(), await self.end_offsets(), await self.committed(group)
        lags = {}
        for partition, last in end.items():
            commit = commits.get(partition, Commit(begin[partition]))
            lags[partition] = max(0, last - max(commit.watermark, begin[partition]) - len(commit.done))
        return lags

    async def groups(self) -> list[str]:
        """The groups that ever committed here, by name; some backends also tell those that only have members.

        :raises NotOffered: the backend can not tell
        """
        raise NotOffered(f"{self.url}: this kind of queue does not tell its groups")

    async def members(self, group: str) -> list[str] | None:
        """The members of a group that are alive; ``None`` when the backend can not tell. May take a lease's time."""
        return None

    async def trim(self, before: Mapping[int, int]) -> int:
        """Delete the messages before an offset in each partition named; answers how many.

        :raises NotOffered: the backend deletes nothing by offset
        """
        raise NotOffered(f"{self.url}: this kind of queue deletes messages by its retention only")

    @property
    @abstractmethod
    def statistics(self) -> Statistics:
        """How full the buffers are."""

    @abstractmethod
    async def close(self) -> None:
        """Write what is buffered, leave groups and let go of connections."""

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Consumer(ABC):
    """A member of a group, that reads the partitions assigned to it.

    >>> import asyncio
    >>> from millrace.queues import open_queue
    >>> async def consumed():
    ...     async with await open_queue("memory://consumed") as queue, queue.consumer("counters") as consumer:
    ...         await queue.append([Message(b"one")])
    ...         (message,) = await consumer.poll()
    ...         await consumer.commit({message.partition: Commit(message.offset + 1)})
    ...         return message.value
    >>> asyncio.run(consumed())
    b'one'
    """

    @property
    @abstractmethod
    def assigned(self) -> frozenset[int]:
        """The partitions of this member now."""

    @abstractmethod
    async def poll(self, max_messages: int = 500, timeout_seconds: float = 1.0) -> list[Message]:
        """The next messages of the assigned partitions that are not paused; waits for some, up to the time.

        Polling keeps no membership alive: the backend does that by itself, so a slow handler loses nothing. Partitions
        come and go inside this call, and `on_assigned` and `on_revoked` run in it: what was returned before is done or
        in the caller's hands then. Messages that the commit names as done beyond the watermark are returned like all
        others; `on_assigned` tells which they are. A consumer that is closed returns nothing.
        """

    @abstractmethod
    async def commit(self, commits: Mapping[int, Commit]) -> None:
        """Set how far the group is in partitions of this member; for one that was lost meanwhile, do nothing."""

    @abstractmethod
    def pause(self, partitions: Iterable[int]) -> None:
        """Read no more of these, and keep them."""

    @abstractmethod
    def resume(self, partitions: Iterable[int]) -> None:
        """Read these again."""

    @abstractmethod
    async def seek(self, partition: int, offset: int) -> None:
        """Read a partition from this offset on.

        :raises ValueError: the partition is not this member's
        """

    @abstractmethod
    async def close(self) -> None:
        """Give up the partitions, after ``on_revoked``, and leave the group."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, for backends that have no rule of their own.

    >>> partition_of(b"user-1", 4) == partition_of(b"user-1", 4)
    True
    """
    return zlib.crc32(key) % partitions


