"""A member of a group on the embedded log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .base import Commit, Consumer, OnAssigned, OnRevoked, Start, TopicGone
from .doorbell import Bell
from .log_group import Group
from .log_groups import group_key, read_commits
from .message import Message

if TYPE_CHECKING:
    from .log_topic import TopicGroups, TopicLog

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    """A partition that this member has."""

    epoch: int
    offset: int


class LogConsumer(Consumer):
    """Reads the partitions that the group gives it. Made by :meth:`LogQueue.consumer`.

    Partitions come and go inside :meth:`poll`; one that is asked back goes when `on_revoked` has returned.
    """

    def __init__(
        self,
        topic: TopicLog,
        groups: TopicGroups,
        bell: Bell,
        group: str,
        *,
        start: Start,
        on_assigned: OnAssigned | None,
        on_revoked: OnRevoked | None,
    ) -> None:
        self.group = group
        self.member = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.read = 0
        self._topic, self._groups, self._bell = topic, groups, bell
        self._start = start
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._held: dict[int, _Held] = {}
        self._paused: set[int] = set()
        self._seen: bytes | None = None
        self._turn = 0
        self._is_member = self._is_closed = False

    @property
    def assigned(self) -> frozenset[int]:
        """The partitions of this member now."""
        return frozenset(self._held)

    async def poll(self, max_messages: int = 500, timeout_seconds: float = 1.0) -> list[Message]:
        """The next messages; partitions are taken and given up here.

        :raises TopicGone: the topic was deleted
        """
        deadline = time.monotonic() + timeout_seconds
        if not self._is_member and not self._is_closed:
            self._is_member = True
            await self._groups.join(self.group, self.member)
        await asyncio.sleep(0)  # a consumer that never waits must not starve the loop
        while not self._is_closed:
            rings = self._bell.rings
            await self._follow_group()
            messages = self._take(max_messages)
            left = deadline - time.monotonic()
            if messages or left <= 0:
                if not messages:
                    self._topic.layout.store.check_there()
                return messages
            await self._bell.wait(rings, left)
        return []

    def _take(self, max_messages: int) -> list[Message]:
        """What there is now; each time another partition is the first, so that none starves."""
        partitions = sorted(self._held.keys() - self._paused)
        if not partitions:
            return []
        self._turn = (self._turn + 1) % len(partitions)
        layout = self._topic.layout
        messages: list[Message] = []
        for partition in partitions[self._turn :] + partitions[: self._turn]:
            held, room = self._held[partition], max_messages - len(messages)
            if room <= 0:
                break
            found = layout.store.read(partial(layout.read, partition=partition, offset=held.offset, max_messages=room))
            if found:
                self._tell_of_gap(held, found[0])
                held.offset = found[-1].offset + 1
                messages += found
        self.read += len(messages)
        return messages

    def _tell_of_gap(self, held: _Held, first: Message) -> None:
        if first.offset > held.offset:
            log.warning(
                "%s: group '%s' missed the offsets %d to %d of partition %d: retention deleted them unread",
                self._topic.layout.store.path, self.group, held.offset, first.offset - 1, first.partition,
            )  # fmt: skip

    async def _follow_group(self) -> None:
        """Give up what was lost or is asked back, and take what is new."""
        text = self._groups.store.read(lambda txn: txn.get(group_key(self.group), db=self._groups.table))
        if text is None or text == self._seen:
            return
        leases = enumerate(Group.parse(text).leases)
        mine = {partition: lease for partition, lease in leases if lease.owner == self.member}
        asked = {partition: lease.epoch for partition, lease in mine.items() if lease.deadline is not None}
        kept = {p: lease.epoch for p, lease in mine.items() if p not in asked}
        gone = [p for p, held in self._held.items() if kept.get(p) != held.epoch]
        if gone:
            deadlines = [mine[partition].deadline for partition in gone if partition in asked]
            await self._revoke(gone, min((d for d in deadlines if d is not None), default=self._latest_handover))
        if asked:
            await self._groups.writer.submit(lambda session: session.release(self.group, self.member, asked))
        new = {partition: epoch for partition, epoch in kept.items() if partition not in self._held}
        if new:
            await self._take_over(new)
        self._seen = text

    @property
    def _latest_handover(self) -> float:
        return time.monotonic() + self._groups.timing.handover_seconds

    async def _revoke(self, partitions: list[int], deadline: float) -> None:
        """Let the application finish with partitions, as long as they are still this member's."""
        try:
            if self._on_revoked is not None:
                await asyncio.wait_for(self._on_revoked(sorted(partitions)), deadline - time.monotonic())
        except TimeoutError:
            log.warning("group '%s': on_revoked for %s took too long and was cancelled", self.group, partitions)
        finally:
            for partition in partitions:
                self._held.pop(partition, None)
                self._paused.discard(partition)

    async def _take_over(self, epochs: Mapping[int, int]) -> None:
        """Begin where the group is in new partitions."""
        layout = self._topic.layout
        commits, begins, ends = self._commits(), *layout.store.read(lambda txn: layout.range(txn, epochs))
        fresh = {p: (begins if self._start == "earliest" else ends)[p] for p in epochs if p not in commits}
        if fresh and self._start == "latest":  # kept, so that what comes before the first commit is not lost
            await self._groups.writer.submit(lambda session: session.begin_at(self.group, fresh))
            commits = self._commits()
        starts = {p: commits.get(p) or Commit(fresh[p]) for p in epochs}
        for partition, commit in starts.items():
            self._held[partition] = _Held(epochs[partition], min(commit.watermark, ends[partition]))
        if self._on_assigned is not None:
            await self._on_assigned(starts)

    def _commits(self) -> dict[int, Commit]:
        return self._groups.store.read(lambda txn: read_commits(txn, self._groups.table, self.group))

    async def commit(self, commits: Mapping[int, Commit]) -> None:
        """Set how far the group is; commits for partitions that are not this member's any more do nothing."""
        held = {p: (self._held[p].epoch, commit) for p, commit in commits.items() if p in self._held}
        if held:
            await self._groups.writer.submit(lambda session: session.commit(self.group, self.member, held))

    def pause(self, partitions: Iterable[int]) -> None:
        """Read no more of these, and keep them."""
        self._paused.update(self._held.keys() & set(partitions))

    def resume(self, partitions: Iterable[int]) -> None:
        """Read these again."""
        self._paused.difference_update(partitions)
        self._bell.ring()

    async def seek(self, partition: int, offset: int) -> None:
        """Read a partition from this offset on.

        :raises ValueError: the partition is not this member's
        """
        if partition not in self._held:
            raise ValueError(
                f"group '{self.group}': partition {partition} is not assigned to this consumer, which has "
                f"{sorted(self._held)}: seek in on_assigned or after a poll"
            )
        self._held[partition].offset = offset
        self._bell.ring()

    async def close(self) -> None:
        """Give up the partitions, after ``on_revoked``, and leave the group."""
        if self._is_closed:
            return
        try:
            if self._held:
                await self._revoke(list(self._held), self._latest_handover)
        finally:
            self._is_closed = True
            self._bell.ring()
            if self._is_member:
                with contextlib.suppress(TopicGone):  # there is no group to leave
                    await self._groups.leave(self.group, self.member)
