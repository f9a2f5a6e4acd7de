"""What is done to a topic from outside: look at it, set the place of a group, copy messages, delete them.

None of it joins a group, so it never disturbs those who read.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace

from ..errors import Conflict
from .base import Commit, NotOffered, Queue
from .message import Message

BATCH = 500
MOST_EMPTY_READS = 2


@dataclass(frozen=True, slots=True)
class PartitionState:
    """What a partition holds: offsets from `begin` up to, and without, `end`."""

    partition: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class GroupState:
    """How far a group is.

    :param lag: messages of each partition that it has not done
    :param members: how many are alive; ``None`` when the backend can not tell
    """

    group: str
    commits: Mapping[int, Commit]
    lag: Mapping[int, int]
    members: int | None


@dataclass(frozen=True, slots=True)
class TopicState:
    """What there is in a topic.

    :param groups: those that read it; ``None`` when the backend can not tell
    """

    url: str
    partitions: list[PartitionState]
    groups: list[GroupState] | None


async def describe(queue: Queue) -> TopicState:
    """What an open queue holds, and who reads it.

    >>> import asyncio
    >>> from millrace.queues.memory_topic import MemoryTopic
    >>> async def main() -> list[PartitionState]:
    ...     async with MemoryTopic("memory://described") as queue:
    ...         await queue.append([Message(b"1"), Message(b"2")])
    ...         return (await describe(queue)).partitions
    >>> asyncio.run(main())
    [PartitionState(partition=0, begin=0, end=2)]
    """
    begin, end = await queue.begin_offsets(), await queue.end_offsets()
    partitions = [PartitionState(partition, begin[partition], end[partition]) for partition in sorted(end)]
    try:
        names = await queue.groups()
    except NotOffered:
        return TopicState(queue.url, partitions, None)
    return TopicState(queue.url, partitions, [await _group(queue, name) for name in names])


async def _group(queue: Queue, name: str) -> GroupState:
    members = await queue.members(name)
    known = None if members is None else len(members)
    return GroupState(name, await queue.committed(name), await queue.lag(name), known)


async def set_place(
    queue: Queue, group: str, offsets: Mapping[int, int], *, force: bool = False
) -> dict[int, Commit | None]:
    """Let a group go on at these offsets; answers where it was, with ``None`` for partitions that it never committed.

    :param force: also when the group has members, which may set their own place again
    :raises Conflict: the group has members
    """
    members = [] if force else await queue.members(group)
    if members:
        raise Conflict(
            f"{queue.url}: group '{group}' has {len(members)} live members, which would set their own place again: "
            "stop them first, or insist with --force"
        )
    before = await queue.committed(group)
    await queue.commit(group, {partition: Commit(offset) for partition, offset in offsets.items()})
    return {partition: before.get(partition) for partition in offsets}


async def batches(queue: Queue, first: Mapping[int, int], last: Mapping[int, int]) -> AsyncIterator[list[Message]]:
    """The messages from `first` on, up to and without `last`, a partition after the other, some hundred at a time."""
    for partition, offset in first.items():
        empty = 0
        while offset < last[partition] and empty < MOST_EMPTY_READS:
            found = await queue.read(partition, offset, BATCH)
            messages = [message for message in found if message.offset < last[partition]]
            if messages:
                yield messages
                offset, empty = messages[-1].offset + 1, 0
            elif found:
                break
            else:  # a broker that is slow, or, in the end, numbers that no message has
                empty += 1


async def copy(
    queue: Queue,
    target: Queue,
    first: Mapping[int, int],
    last: Mapping[int, int],
    *,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Append the messages from `first` on, up to and without `last`, to another topic (or this one); answers how many.

    Messages of one key, and those of one partition that have no key, stay in order. They get the present time: with
    their old one the other topic's retention might delete them before they are read.

    :param progress: told how many are done
    """
    done = 0
    async for messages in batches(queue, first, last):
        await target.append([_again(message, target.partitions) for message in messages])
        done += len(messages)
        if progress is not None:
            progress(done)
    return done


def _again(message: Message, partitions: int) -> Message:
    partition = -1 if message.key is not None else message.partition % partitions
    return replace(message, partition=partition, offset=-1, timestamp=time.time())
