"""A member of a group on a topic in memory, and what the members of a group share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .base import Commit, Consumer, OnAssigned, OnRevoked, Start
from .message import Message

if TYPE_CHECKING:
    from .memory_topic import MemoryTopic


@dataclass(eq=False)
class Group:
    """The members of a group in the order in which they joined, who owns which partition, and how far it is.

    Members may be on several threads: whoever reads or changes a group holds its topic's lock.
    """

    members: list[MemoryConsumer] = field(default_factory=list)
    owners: dict[int, MemoryConsumer] = field(default_factory=dict)
    commits: dict[int, Commit] = field(default_factory=dict)

    def share_of(self, member: MemoryConsumer, partitions: int) -> set[int]:
        """The partitions that a member should own."""
        if member not in self.members:
            return set()
        return set(range(self.members.index(member), partitions, len(self.members)))


class MemoryConsumer(Consumer):
    """Reads the partitions that the group gives it. Made by :meth:`MemoryTopic.consumer`.

    Each member gives up what is not its share any more in its own :meth:`poll`; only then another one can take it.
    """

    def __init__(
        self,
        queue: MemoryTopic,
        group: str,
        start: Start,
        on_assigned: OnAssigned | None,
        on_revoked: OnRevoked | None,
    ) -> None:
        self._queue, self._topic, self._name = queue, queue.topic, group
        self._start = start
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def assigned(self) -> frozenset[int]:
        return frozenset(self._positions)

    async def poll(self, max_messages: int = 500, timeout_seconds: float = 1.0) -> list[Message]:
        deadline = time.monotonic() + timeout_seconds
        if not self._closed:
            self._join()
        await asyncio.sleep(0)  # a consumer that never waits must not starve the loop
        while not self._closed:
            self._changed.clear()
            await self._rebalance()  # the time limit is for waiting: `on_revoked` must not be cut short by it
            found = await self._fetch(max_messages)
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
        return []

    def _join(self) -> None:
        with self._topic.lock:
            members = self._topic.group(self._name).members
            if self in members:
                return
            members.append(self)
            self._topic.wakers[self] = (asyncio.get_running_loop(), self._changed)
        self._topic.wake()

    async def _fetch(self, max_messages: int) -> list[Message]:
        found: list[Message] = []
        for partition in sorted(self._positions.keys() - self._paused):
            if len(found) < max_messages:
                got = await self._queue.read(partition, self._positions[partition], max_messages - len(found))
                if got:
                    self._positions[partition] = got[-1].offset + 1
                    found += got
        return found

    async def _rebalance(self) -> None:
        with self._topic.lock:
            mine = self._topic.group(self._name).share_of(self, len(self._topic.logs))
        lost = [one for one in self._positions if one not in mine]
        if lost:
            await self._let_go(lost)
        commits = self._take()
        if commits and self._on_assigned is not None:
            await self._on_assigned(commits)

    def _take(self) -> dict[int, Commit]:
        """Own what is this member's share and nobody's; answers how far the group is there."""
        taken = {}
        with self._topic.lock:
            group = self._topic.group(self._name)
            for partition in group.share_of(self, len(self._topic.logs)) - group.owners.keys():
                group.owners[partition] = self
                taken[partition] = group.commits.get(partition) or self._begin(partition, group)
                self._positions[partition] = taken[partition].watermark
        return taken

    def _begin(self, partition: int, group: Group) -> Commit:
        """Where a partition begins that was never committed."""
        if self._start == "earliest":
            return Commit(self._topic.begins[partition])
        # Kept at once: who comes next must not begin after what arrives from now on.
        return group.commits.setdefault(partition, Commit(self._topic.end(partition)))

    async def _let_go(self, partitions: list[int]) -> None:
        try:
            if self._on_revoked is not None:
                await self._on_revoked(partitions)
        finally:
            with self._topic.lock:
                owners = self._topic.group(self._name).owners
                for partition in partitions:
                    self._positions.pop(partition, None)
                    self._paused.discard(partition)
                    if owners.get(partition) is self:
                        del owners[partition]
            self._topic.wake()

    async def commit(self, commits: Mapping[int, Commit]) -> None:
        with self._topic.lock:
            group = self._topic.group(self._name)
            group.commits.update({at: one for at, one in commits.items() if group.owners.get(at) is self})

    def pause(self, partitions: Iterable[int]) -> None:
        self._paused.update(one for one in partitions if one in self._positions)

    def resume(self, partitions: Iterable[int]) -> None:
        self._paused.difference_update(partitions)
        self._topic.wake()

    async def seek(self, partition: int, offset: int) -> None:
        if partition not in self._positions:
            raise ValueError(f"partition {partition} of {self._queue.url} is not this member's")
        self._positions[partition] = offset

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._positions:
                await self._let_go(list(self._positions))
        finally:
            with self._topic.lock:
                members = self._topic.group(self._name).members
                if self in members:
                    members.remove(self)
            self._queue.forget(self)
            self._topic.wake()
            with self._topic.lock:
                self._topic.wakers.pop(self, None)
