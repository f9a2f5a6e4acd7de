"""The last messages of a topic, and those that come: read without a group, so that nobody is disturbed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping

from .base import Queue
from .message import Message

SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.5


async def last_messages(queue: Queue, most: int, partitions: Iterable[int]) -> tuple[list[Message], dict[int, int]]:
    """The newest messages by their time, oldest first, and the offsets that come after them.

    >>> from millrace.queues.memory_topic import MemoryTopic
    >>> async def main() -> list[bytes]:
    ...     async with MemoryTopic("memory://tailed") as queue:
    ...         await queue.append([Message(b"%d" % number) for number in range(5)])
    ...         return [message.value for message in (await last_messages(queue, 2, [0]))[0]]
    >>> asyncio.run(main())
    [b'3', b'4']
    """
    wanted = list(partitions)
    begins, ends = await queue.begin_offsets(), await queue.end_offsets()
    found: list[Message] = []
    for partition in wanted:
        found += await _newest(queue, partition, most, begins[partition], ends[partition])
    newest = _by_time(found)[-most:] if most else []
    return newest, {partition: ends[partition] for partition in wanted}


async def _newest(queue: Queue, partition: int, most: int, begin: int, end: int) -> list[Message]:
    """The last messages of a partition; looks farther back where numbers have no message."""
    span = most
    while True:
        start = max(begin, end - span)
        found = await read_range(queue, partition, start, end)
        if len(found) >= most or start <= begin:
            return found[-most:] if most else []
        span *= 4


async def read_range(queue: Queue, partition: int, first: int, last: int) -> list[Message]:
    """The messages of a partition from an offset on, up to and without another."""
    found: list[Message] = []
    while first < last:
        messages = [message for message in await queue.read(partition, first) if message.offset < last]
        if not messages:
            break
        found += messages
        first = messages[-1].offset + 1
    return found


async def follow(queue: Queue, offsets: Mapping[int, int]) -> AsyncIterator[Message]:
    """The messages from these offsets on, for ever; waits for new ones. What comes together is in the order of time."""
    places = dict(offsets)
    pause = SHORTEST_PAUSE_SECONDS
    while True:
        found: list[Message] = []
        for partition, offset in places.items():
            if messages := await queue.read(partition, offset):
                places[partition] = messages[-1].offset + 1
                found += messages
        for message in _by_time(found):
            yield message
        pause = SHORTEST_PAUSE_SECONDS if found else min(2 * pause, LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(0 if found else pause)


async def until(queue: Queue, offsets: Mapping[int, int]) -> AsyncIterator[Message]:
    """The messages from these offsets to what is now the end, some of each partition in turn."""
    ends = await queue.end_offsets()
    places = {partition: offset for partition, offset in offsets.items() if offset < ends[partition]}
    while places:
        found: list[Message] = []
        for partition, offset in list(places.items()):
            messages = [message for message in await queue.read(partition, offset) if message.offset < ends[partition]]
            found += messages
            places[partition] = messages[-1].offset + 1 if messages else ends[partition]
            if places[partition] >= ends[partition]:
                del places[partition]
        for message in _by_time(found):
            yield message


def _by_time(messages: list[Message]) -> list[Message]:
    return sorted(messages, key=lambda message: (message.timestamp, message.partition, message.offset))
