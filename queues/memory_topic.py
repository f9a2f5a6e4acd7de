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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..errors import GraphError, QueueFull, near
from .base import Commit, Consumer, OnAssigned, OnRevoked, Queue, Settings, Start, Statistics, partition_of
from .message import Message

DEFAULT_PARTITIONS = 1
MAX_MESSAGES = 1_000_000
OPTIONS = ("max_messages",)


@dataclass(eq=False)
class Group:
    """The members of a group in the order in which they joined, who owns which partition, and how far it is."""

    members: list[Any] = field(default_factory=list)
    owners: dict[int, Any] = field(default_factory=dict)
    commits: dict[int, Commit] = field(default_factory=dict)

    def share_of(self, member: Any, partitions: int) -> set[int]:
        """The partitions that a member should own."""
        if member not in self.members:
            return set()
        return set(range(self.members.index(member), partitions, len(self.members)))


@dataclass(eq=False)
class Topic:
    """What the queues of one name share."""

    logs: list[list[Message]]
    begins: list[int]
    max_messages: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    groups: dict[str, Group] = field(default_factory=dict)
    wakers: dict[object, tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=dict)
    turn: Iterable[int] = field(default_factory=itertools.count)

    def wake(self) -> None:
        """Let everyone look again."""
        for loop, event in list(self.wakers.values()):
            with contextlib.suppress(RuntimeError):  # that loop is closed, and nobody waits on it
                loop.call_soon_threadsafe(event.set)

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
        del log[:gone]
        self.begins[partition] += gone


_topics: dict[str, Topic] = {}
_topics_lock = threading.Lock()


def at(url: str, settings: Settings) -> MemoryTopic:
    """The queue of a ``memory://`` address."""
    return MemoryTopic(url, settings)


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
        return next(iter(self.topic.turn)) % self.partitions

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
        found = self.topic.groups.get(group)
        return dict(found.commits) if found else {}

    async def commit(self, group: str, commits: Mapping[int, Commit]) -> None:
        self.topic.groups.setdefault(group, Group()).commits.update(commits)

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
        logs = self.topic.logs
        held = sum(len(log) for log in logs)
        return Statistics(self._appended, self._read, held, len(logs) * self.topic.max_messages)

    async def close(self) -> None:
        for member in list(self._members):
            await member.close()
        self._topic = None


class MemoryConsumer(Consumer):
    """A member of a group in memory."""

    def __init__(
        self,
        queue: MemoryTopic,
        group: str,
        start: Start,
        on_assigned: OnAssigned | None,
        on_revoked: OnRevoked | None,
    ) -> None:
        self._queue = queue
        self._name = group
        self._start = start
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._closed = False

    @property
    def _group(self) -> Group:
        return self._queue.topic.groups.setdefault(self._name, Group())

    @property
    def assigned(self) -> frozenset[int]:
        return frozenset(self._positions)

    async def poll(self, max_messages: int = 500, timeout_seconds: float = 1.0) -> list[Message]:
        if self._closed:
            return []
        topic, changed = self._queue.topic, asyncio.Event()
        topic.wakers[self] = (asyncio.get_running_loop(), changed)
        if self not in self._group.members:
            self._group.members.append(self)
            topic.wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not self._closed:
                    changed.clear()
                    await self._rebalance()
                    found = await self._fetch(max_messages)
                    if found:
                        return found
                    await changed.wait()
        return []

    async def _fetch(self, max_messages: int) -> list[Message]:
        found: list[Message] = []
        for partition in sorted(self._positions):
            if partition not in self._paused and len(found) < max_messages:
                got = await self._queue.read(partition, self._positions[partition], max_messages - len(found))
                if got:
                    self._positions[partition] = got[-1].offset + 1
                    found += got
        return found

    async def _rebalance(self) -> None:
        group, topic = self._group, self._queue.topic
        mine = group.share_of(self, self._queue.partitions)
        lost = [one for one in self._positions if one not in mine]
        if lost:
            await self._let_go(lost)
        got = [one for one in mine if one not in group.owners]
        if not got:
            return
        commits = {}
        for partition in got:
            group.owners[partition] = self
            begin = topic.begins[partition] if self._start == "earliest" else topic.end(partition)
            commits[partition] = group.commits.get(partition, Commit(begin))
            self._positions[partition] = commits[partition].watermark
        if self._on_assigned is not None:
            await self._on_assigned(commits)

    async def _let_go(self, partitions: list[int]) -> None:
        try:
            if self._on_revoked is not None:
                await self._on_revoked(partitions)
        finally:
            for partition in partitions:
                self._positions.pop(partition, None)
                self._paused.discard(partition)
                if self._group.owners.get(partition) is self:
                    del self._group.owners[partition]
            self._queue.topic.wake()

    async def commit(self, commits: Mapping[int, Commit]) -> None:
        for partition, commit in commits.items():
            if self._group.owners.get(partition) is self:
                self._group.commits[partition] = commit

    def pause(self, partitions: Iterable[int]) -> None:
        self._paused.update(one for one in partitions if one in self._positions)

    def resume(self, partitions: Iterable[int]) -> None:
        self._paused.difference_update(partitions)
        self._queue.topic.wake()

    async def seek(self, partition: int, offset: int) -> None:
        if partition not in self._positions:
            raise ValueError(f"partition {partition} of {self._queue.url} is not this member's")
        self._positions[partition] = offset

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._positions:
            await self._let_go(list(self._positions))
        if self in self._group.members:
            self._group.members.remove(self)
        self._queue._members.discard(self)
        self._queue.topic.wakers.pop(self, None)
        self._queue.topic.wake()
