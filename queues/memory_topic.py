"""``memory://name``: a topic in the memory of this process, with partitions and groups, for tests. It is not durable.

All queues of one name share one topic, on whichever loops and threads they are used. It is there until the process
ends, or :func:`forget` is called.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from ..errors import GraphError, QueueFull, near
from .base import (
    Commit,
    OnAssigned,
    OnRevoked,
    Queue,
    Settings,
    Start,
    Statistics,
    TopicNotFound,
    partition_of,
)
from .memory_consumer import Group, MemoryConsumer
from .message import Message

DEFAULT_PARTITIONS = 1
MAX_MESSAGES = 1_000_000
OPTIONS = ("max_messages",)


@dataclass(eq=False)
class Topic:
    """What the queues of one name share."""

    logs: list[list[Message]]
    begins: list[int]
    max_messages: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    groups: dict[str, Group] = field(default_factory=dict)
    wakers: dict[object, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=dict)
    turn: Iterator[int] = field(default_factory=itertools.count)

    def wake(self) -> None:
        """Let everyone look again."""
        for loop, event in list(self.wakers.values()):
            with contextlib.suppress(RuntimeError):  # that loop is closed, and nobody waits on it
                loop.call_soon_threadsafe(event.set)

    def group(self, name: str) -> Group:
        """A group, made when it is new; under the lock."""
        return self.groups.setdefault(name, Group())

    def end(self, partition: int) -> int:
        """The offset of the next message."""
        return self.begins[partition] + len(self.logs[partition])

    def expire(self, partition: int, settings: Settings, now: float) -> None:
        """Forget what is too old or too much."""
        log, gone = self.logs[partition], 0
        if settings.retention_seconds is not None:
            gone = bisect.bisect_left(log, now - settings.retention_seconds, key=lambda one: one.timestamp)
        if settings.retention_bytes is not None:
            size = sum(len(one.value) for one in log[gone:])
            while gone < len(log) and size > settings.retention_bytes:
                size -= len(log[gone].value)
                gone += 1
        self.trim(partition, self.begins[partition] + gone)

    def trim(self, partition: int, before: int) -> int:
        """Forget what lies before an offset; answers how many messages."""
        gone = min(max(0, before - self.begins[partition]), len(self.logs[partition]))
        del self.logs[partition][:gone]
        self.begins[partition] += gone
        return gone


_topics: dict[str, Topic] = {}
_topics_lock = threading.Lock()


def at(url: str, settings: Settings) -> MemoryTopic:
    """The queue of a ``memory://`` address."""
    return MemoryTopic(url, settings)


async def list_topics(url: str, settings: Settings) -> list[str]:
    """The topics in the memory of this process whose names begin like this."""
    with _topics_lock:
        return sorted(one for one in _topics if one.startswith(url))


def forget(url: str) -> None:
    """Let go a topic and its messages; queues that are open keep it."""
    with _topics_lock:
        _topics.pop(url, None)


class MemoryTopic(Queue):
    """One client of a topic in memory.

    :param url: ``memory://name``; queues of one name share the messages
    :param settings: the option ``max_messages`` bounds a partition; more is :class:`~millrace.errors.QueueFull`

    >>> async def main():
    ...     async with MemoryTopic("memory://orders") as queue:
    ...         await queue.append([Message(b"1"), Message(b"2")])
    ...         return [message.value for message in await queue.read(0, 0)]
    >>> asyncio.run(main())
    [b'1', b'2']
    """

    def __init__(self, url: str, settings: Settings | None = None) -> None:
        self.url = url
        self.settings = settings or Settings()
        for name in self.settings.options:
            if name not in OPTIONS:
                raise GraphError(f"'{url}' has no option '{name}'{near(name, OPTIONS)}")
        self._topic: Topic | None = None
        self._members: set[MemoryConsumer] = set()
        self._appended = self._read = 0

    @property
    def topic(self) -> Topic:
        """What all queues of this name share; the queue must be open."""
        if self._topic is None:
            raise GraphError(f"'{self.url}' is not open: await queue.open() first")
        return self._topic

    @property
    def partitions(self) -> int:
        return len(self.topic.logs)

    async def open(self) -> Self:
        with _topics_lock:
            topic = _topics.get(self.url)
            if topic is None and self.settings.must_exist:
                raise TopicNotFound(self.url)
            if topic is None:
                count = self.settings.partitions or DEFAULT_PARTITIONS
                most = int(self.settings.options.get("max_messages", MAX_MESSAGES))
                topic = _topics[self.url] = Topic([[] for _ in range(count)], [0] * count, most)
            self._topic = topic
        return self

    async def append(self, messages: Sequence[Message]) -> list[Message]:
        topic = self.topic
        with topic.lock:
            chosen = [(self._partition(message), message) for message in messages]
            for partition in {one for one, _ in chosen}:
                topic.expire(partition, self.settings, max(message.timestamp for _, message in chosen))
                coming = sum(one == partition for one, _ in chosen)
                if len(topic.logs[partition]) + coming > topic.max_messages:
                    raise QueueFull(f"{self.url} partition {partition} holds its {topic.max_messages:,} messages")
            appended = []
            for partition, message in chosen:
                kept = replace(message, partition=partition, offset=topic.end(partition))
                topic.logs[partition].append(kept)
                appended.append(kept)
        self._appended += len(appended)
        topic.wake()
        return appended

    def _partition(self, message: Message) -> int:
        if message.partition >= 0:
            if message.partition >= self.partitions:
                raise ValueError(f"{self.url} has {self.partitions} partitions; there is no {message.partition}")
            return message.partition
        if message.key is not None:
            return partition_of(message.key, self.partitions)
        return next(self.topic.turn) % self.partitions

    async def read(self, partition: int, offset: int, max_messages: int = 500) -> list[Message]:
        topic = self.topic
        with topic.lock:
            first = max(0, offset - topic.begins[partition])
            found = topic.logs[partition][first : first + max_messages]
        self._read += len(found)
        return found

    async def begin_offsets(self) -> dict[int, int]:
        return dict(enumerate(self.topic.begins))

    async def end_offsets(self) -> dict[int, int]:
        return {partition: self.topic.end(partition) for partition in range(self.partitions)}

    async def offset_at(self, partition: int, timestamp: float) -> int:
        log = self.topic.logs[partition]
        newer = (place for place, message in enumerate(log) if message.timestamp >= timestamp)
        return self.topic.begins[partition] + next(newer, len(log))

    async def committed(self, group: str) -> dict[int, Commit]:
        with self.topic.lock:
            found = self.topic.groups.get(group)
            return dict(found.commits) if found else {}

    async def commit(self, group: str, commits: Mapping[int, Commit]) -> None:
        with self.topic.lock:
            self.topic.group(group).commits.update(commits)

    async def groups(self) -> list[str]:
        with self.topic.lock:
            return sorted(self.topic.groups)

    async def members(self, group: str) -> list[str]:
        with self.topic.lock:
            found = self.topic.groups.get(group)
            return [f"member {number}" for number, _ in enumerate(found.members)] if found else []

    async def trim(self, before: Mapping[int, int]) -> int:
        with self.topic.lock:
            return sum(self.topic.trim(partition, offset) for partition, offset in before.items())

    def consumer(
        self,
        group: str,
        *,
        start: Start = "earliest",
        on_assigned: OnAssigned | None = None,
        on_revoked: OnRevoked | None = None,
    ) -> MemoryConsumer:
        member = MemoryConsumer(self, group, start, on_assigned, on_revoked)
        self._members.add(member)
        return member

    @property
    def statistics(self) -> Statistics:
        # What is appended is at once where it stays, so nothing ever waits in this client.
        return Statistics(self._appended, self._read, 0, self.topic.max_messages)

    def forget(self, member: MemoryConsumer) -> None:
        """A member is closed."""
        self._members.discard(member)

    async def close(self) -> None:
        for member in list(self._members):
            await member.close()
        self._topic = None
