"""Queues in the memory of one process, that no other reads: what is done with is let go, so that they never fill up."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from ...queues.base import Commit, Queue

PAUSE_SECONDS = 0.5
KEPT_UNREAD = 1_000


async def keep_room(queue: Queue, groups: Collection[str]) -> None:
    """Let messages go once all groups have done them, until cancelled; where nobody reads, keep the last 1,000.

    :param groups: those that read the queue
    """
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        await queue.trim(await _done_before(queue, groups))


async def _done_before(queue: Queue, groups: Collection[str]) -> dict[int, int]:
    """Up to which offset of each partition nobody needs the messages."""
    if not groups:
        return {partition: max(0, end - KEPT_UNREAD) for partition, end in (await queue.end_offsets()).items()}
    commits = [await queue.committed(group) for group in groups]
    return {
        partition: min(commit.get(partition, Commit(0)).watermark for commit in commits)
        for partition in range(queue.partitions)
    }
