"""A member of a group on a v3io stream."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .base import Commit, Consumer, OnAssigned, OnRevoked, Start
from .message import Message
from .v3io_fetch import Fetcher
from .v3io_member import Member

if TYPE_CHECKING:
    from .v3io_queue import V3ioQueue

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    """A partition that this member has."""

    epoch: int
    fetcher: Fetcher


class V3ioConsumer(Consumer):
    """Reads the partitions that the group gives it. Made by :meth:`V3ioQueue.consumer`.

    Partitions come and go inside :meth:`poll`; one that is asked back goes when `on_revoked` has returned.
    """

    def __init__(
        self,
        queue: V3ioQueue,
        group: str,
        *,
        start: Start,
        on_assigned: OnAssigned | None,
        on_revoked: OnRevoked | None,
    ) -> None:
        self.group = group
        self.read = 0
        self._queue, self._start = queue, start
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._state = queue.state(group)
        self._member = Member(self._state, queue.options, name=group)
        self._held: dict[int, _Held] = {}
        self._paused: set[int] = set()
        self._arrived = self._member.changed
        self._seen = 0
        self._turn = 0
        self._committing = asyncio.Lock()
        self._is_member = self._is_closed = False

    @property
    def assigned(self) -> frozenset[int]:
        """The partitions of this member now."""
        return frozenset(self._held)

    @property
    def buffered(self) -> int:
        """How many messages were read and not taken yet."""
        return sum(len(held.fetcher) for held in self._held.values())

    async def poll(self, max_messages: int = 500, timeout_seconds: float = 1.0) -> list[Message]:
        """The next messages; partitions are taken and given up here.

        :raises Refused: the platform refuses to be read, or to keep the membership
        """
        deadline = time.monotonic() + timeout_seconds
        if not self._is_member and not self._is_closed:
            self._is_member = True
            await self._member.join()
        await asyncio.sleep(0)  # a consumer that never waits must not starve the loop
        while not self._is_closed:
            self._arrived.clear()
            await self._follow_group()
            messages = [] if self._member.has_lapsed else self._take(max_messages)
            left = deadline - time.monotonic()
            if messages or left <= 0:
                return messages
            await self._wait(left)
        return []

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._arrived.wait(), seconds)
        except TimeoutError:
            return  # poll sees that the time is over

    def _take(self, max_messages: int) -> list[Message]:
        """What is here now; each time another partition is the first, so that none starves."""
        partitions = sorted(self._held.keys() - self._paused)
        if not partitions:
            return []
        self._turn = (self._turn + 1) % len(partitions)
        messages: list[Message] = []
        for partition in partitions[self._turn :] + partitions[: self._turn]:
            fetcher = self._held[partition].fetcher
            if fetcher.failure is not None and not len(fetcher):
                raise fetcher.failure
            expected = fetcher.offset
            found = fetcher.take(max_messages - len(messages))
            self._tell_of_gap(expected, found)
            messages += found
        self.read += len(messages)
        return messages

    def _tell_of_gap(self, expected: int, found: list[Message]) -> None:
        """Sequence numbers may have gaps, so that this may be none."""
        if found and found[0].offset > expected > 1:
            log.info(
                "%s: group '%s': shard %d goes on at %d after %d",
                self._queue.url, self.group, found[0].partition, found[0].offset, expected - 1,
            )  # fmt: skip

    async def _follow_group(self) -> None:
        """Give up what was lost or is asked back, and take what is new."""
        member = self._member
        if member.failure is not None:
            raise member.failure
        if member.group is None or member.version == self._seen:
            return
        version = member.version
        mine = {p: lease for p, lease in enumerate(member.group.leases) if lease.owner == member.id}
        asked = {p: lease.epoch for p, lease in mine.items() if lease.deadline is not None}
        kept = {p: lease.epoch for p, lease in mine.items() if p not in asked}
        gone = [p for p, held in self._held.items() if kept.get(p) != held.epoch]
        if gone:
            deadlines = [mine[p].deadline for p in gone if p in asked]
            await self._revoke(gone, min((d for d in deadlines if d is not None), default=self._latest_handover))
        if asked:
            await member.release(asked)
        new = {partition: epoch for partition, epoch in kept.items() if partition not in self._held}
        if new:
            await self._take_over(new)
        self._seen = version

    @property
    def _latest_handover(self) -> float:
        return time.time() + self._queue.options.handover_timeout_seconds

    async def _revoke(self, partitions: list[int], deadline: float) -> None:
        """Let the application finish with partitions, as long as they are still this member's."""
        try:
            if self._on_revoked is not None:
                await asyncio.wait_for(self._on_revoked(sorted(partitions)), max(0.0, deadline - time.time()))
        except TimeoutError:
            log.warning("group '%s': on_revoked for %s took too long and was cancelled", self.group, partitions)
        finally:
            for partition in partitions:
                self._paused.discard(partition)
                await self._held.pop(partition).fetcher.close()

    async def _take_over(self, epochs: Mapping[int, int]) -> None:
        """Begin where the group is in new partitions."""
        starts: dict[int, Commit] = {}
        for partition, epoch in epochs.items():
            is_latest, commit = await self._state.take_over(partition, epoch)
            if is_latest:  # otherwise it has gone on to another member already
                starts[partition] = commit or await self._first_commit(partition, epoch)
        for partition, commit in starts.items():
            fetcher = Fetcher(self._queue.stream, partition, commit.watermark, self._queue.options, self._arrived.set)
            self._held[partition] = _Held(epochs[partition], fetcher)
        if starts and self._on_assigned is not None:
            await self._on_assigned(starts)

    async def _first_commit(self, partition: int, epoch: int) -> Commit:
        """Where a group begins that never committed; the end is kept, so that what comes after it is not lost."""
        shards = self._queue.shards
        if self._start == "earliest":
            return Commit(await shards.begin(partition))
        commit = Commit(await shards.end(partition))
        await self._state.commit(partition, epoch, commit)
        return commit

    async def commit(self, commits: Mapping[int, Commit]) -> None:
        """Set how far the group is; commits for partitions that are not this member's any more do nothing."""
        held = {p: (self._held[p].epoch, commit) for p, commit in commits.items() if p in self._held}
        async with self._committing:  # so that an older one never comes after a newer one
            await asyncio.gather(*(self._state.commit(p, epoch, commit) for p, (epoch, commit) in held.items()))

    def pause(self, partitions: Iterable[int]) -> None:
        """Read no more of these, and keep them."""
        self._paused.update(self._held.keys() & set(partitions))

    def resume(self, partitions: Iterable[int]) -> None:
        """Read these again."""
        self._paused.difference_update(partitions)
        self._arrived.set()

    async def seek(self, partition: int, offset: int) -> None:
        """Read a partition from this offset on.

        :raises ValueError: the partition is not this member's
        """
        if partition not in self._held:
            raise ValueError(
                f"group '{self.group}': partition {partition} is not assigned to this consumer, which has "
                f"{sorted(self._held)}: seek in on_assigned or after a poll"
            )
        await self._held[partition].fetcher.seek(offset)

    async def close(self) -> None:
        """Give up the partitions, after ``on_revoked``, and leave the group."""
        if self._is_closed:
            return
        try:
            if self._held:
                await self._revoke(list(self._held), self._latest_handover)
        finally:
            self._is_closed = True
            self._arrived.set()
            self._queue.forget(self)
            if self._is_member:
                await self._member.leave()
