"""A stream of a v3io data platform as a queue."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import random
import time
from collections.abc import Mapping, Sequence
from typing import Self

from ..errors import GraphError, Unavailable
from .base import (
    Commit,
    Consumer,
    NotOffered,
    OnAssigned,
    OnRevoked,
    Queue,
    Settings,
    Start,
    Statistics,
    TopicNotFound,
    partition_of,
)
from .message import Message
from .v3io_append import Entry, Lane, Ticket
from .v3io_client import Stream
from .v3io_consumer import V3ioConsumer
from .v3io_options import Options, Place
from .v3io_shards import Shards
from .v3io_state import GroupState, group_of

SHARDS = 4
HOURS = 24
HOUR_SECONDS = 3_600
WATCH_SECONDS = 0.25


class V3ioQueue(Queue):
    """A stream: its partitions are shards, its offsets sequence numbers, which begin at 1 and may have gaps.

    A key chooses the shard by :func:`~millrace.queues.base.partition_of`, not by the platform's own rule for partition
    keys: who appends one key both ways finds it in two shards. The number of shards is read when the queue is opened.

    :param url: ``v3io://host/container/path`` (HTTPS), ``v3io+http://…`` (not encrypted), or ``v3io:///container/path``
        with the host in ``V3IO_API``
    :param settings: its options are those of :class:`Options`; the retention is rounded up to hours
    :raises GraphError: the address or an option is wrong
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self.options = Options.parse(settings.options)
        self._place = Place.parse(url, self.options)
        self._settings = settings
        if settings.retention_bytes is not None:
            raise GraphError(f"{url}: v3io streams keep messages for a time, not up to a size: give retention_seconds")
        self._stream: Stream | None = None
        self._lanes: list[Lane] = []
        self._consumers: set[V3ioConsumer] = set()
        self._turn = itertools.count(random.randrange(1 << 16))
        self._adding = asyncio.Lock()
        self._space = asyncio.Event()
        self._waiting = self._appended = self._read = 0

    def __repr__(self) -> str:
        return f"V3ioQueue({self.url!r})"

    @property
    def stream(self) -> Stream:
        """The open stream.

        :raises Unavailable: it is not open
        """
        if self._stream is None:
            raise Unavailable(f"{self.url} is not open: await queue.open() first")
        return self._stream

    @property
    def shards(self) -> Shards:
        """The stream's shards, for reading."""
        return self._shards if self._stream is not None else Shards(self.stream)

    @property
    def partitions(self) -> int:
        """How many shards the stream has."""
        return len(self._lanes)

    async def open(self) -> Self:
        """Connect, and make the stream when it does not exist.

        :raises SecretNotFound: there is no access key
        :raises Refused: the platform does not let us
        """
        if self._stream is not None:
            return self
        stream = Stream(self._place, self.options, url=self.url)
        try:
            count = await stream.describe()
            if count is None and self._settings.must_exist:
                raise TopicNotFound(self.url)
            if count is None:
                seconds = self._settings.retention_seconds or HOURS * HOUR_SECONDS
                await stream.create(self._settings.partitions or SHARDS, max(1, math.ceil(seconds / HOUR_SECONDS)))
                count = await stream.describe()
        except BaseException:
            await stream.close()
            raise
        if not count:
            await stream.close()
            raise Unavailable(f"{self.url}: the stream was made and is not there; somebody deletes it")
        self._stream, self._shards = stream, Shards(stream)
        self._lanes = [Lane(stream, shard, self.options, self._settled) for shard in range(count)]
        return self

    async def append(self, messages: Sequence[Message]) -> list[Message]:
        """Append messages and return them, with partition and offset, once the platform has them.

        When it is cancelled, what is on its way may still be written.

        :raises Refused: the platform refuses a message, as too long; others of the call may have been written
        :raises Unavailable: no answer for ``retry_timeout_seconds``; the text says whether they may have been written
        :raises QueueFull: the platform's storage is full
        """
        if not messages:
            return []
        lanes = [self._lanes[self._partition(message)] for message in messages] if self.stream else []
        ticket = Ticket(len(messages))
        async with self._adding:  # those who wait for room get it in turn
            for index, (message, lane) in enumerate(zip(messages, lanes, strict=True)):
                while self._waiting >= self.options.buffer_messages:
                    self._space.clear()
                    await self._space.wait()
                lane.add(Entry(message, ticket, index))
                self._waiting += 1
        await ticket.done
        return [message for message in ticket.written if message is not None]

    def _partition(self, message: Message) -> int:
        if message.partition >= self.partitions:
            raise ValueError(f"{self.url} has {self.partitions} partitions, none is {message.partition}")
        if message.partition >= 0:
            return message.partition
        if message.key is not None:
            return partition_of(message.key, self.partitions)
        return next(self._turn) % self.partitions

    def _settled(self, over: int, written: int) -> None:
        self._waiting -= over
        self._appended += written
        self._space.set()

    async def read(self, partition: int, offset: int, max_messages: int = 500) -> list[Message]:
        """Messages of a partition from an offset on, without waiting; an offset that is gone means the oldest one."""
        messages = await self.shards.read(partition, offset, max_messages) if max_messages > 0 else []
        self._read += len(messages)
        return messages

    async def begin_offsets(self) -> dict[int, int]:
        """The oldest offset of each partition."""
        shards = range(self.partitions)
        return dict(zip(shards, await asyncio.gather(*map(self.shards.begin, shards)), strict=True))

    async def end_offsets(self) -> dict[int, int]:
        """The offset that each partition's next message will get, or less than it where numbers are left out."""
        shards = range(self.partitions)
        return dict(zip(shards, await asyncio.gather(*map(self.shards.end, shards)), strict=True))

    async def offset_at(self, partition: int, timestamp: float) -> int:
        """The first offset whose message is not older than a time; the end if none is."""
        return await self.shards.at_time(partition, timestamp)

    async def committed(self, group: str) -> dict[int, Commit]:
        """How far a group is; partitions without a commit are left out."""
        return await self.state(group).commits(self.partitions)

    async def commit(self, group: str, commits: Mapping[int, Commit]) -> None:
        """Set how far a group is, from outside: to replay or to skip. The group should have no members.

        :raises Conflict: a member takes a partition over meanwhile
        """
        state = self.state(group)
        for partition, commit in commits.items():
            await state.set_commit(partition, commit)

    async def groups(self) -> list[str]:
        """The groups of Millrace that ever read this stream."""
        return sorted({group for name in await self.stream.names() if (group := group_of(name)) is not None})

    async def members(self, group: str) -> list[str]:
        """The members of a group that are alive. One shows it by its beats, so that may take the time of a lease."""
        state = self.state(group)
        before = await state.load()
        deadline = time.monotonic() + self.options.lease_timeout_seconds if before.group.members else 0.0
        while time.monotonic() < deadline:
            await asyncio.sleep(min(WATCH_SECONDS, self.options.heartbeat_seconds))
            now = await state.load()
            alive = [one for one in now.group.members if now.beats.get(one) != before.beats.get(one)]
            if alive or not now.group.members:
                return alive
        return []

    async def trim(self, before: Mapping[int, int]) -> int:
        """The platform deletes by age only.

        :raises NotOffered: always
        """
        raise NotOffered(
            f"{self.url}: a v3io stream deletes messages by its retention only; to pass over them, set the place of "
            "each group: millrace queue replay URL --group NAME --from latest"
        )

    def state(self, group: str) -> GroupState:
        """What is kept about a group."""
        return GroupState(self.stream, group, self.partitions, retry_timeout_seconds=self.options.retry_timeout_seconds)

    def consumer(
        self,
        group: str,
        *,
        start: Start = "earliest",
        on_assigned: OnAssigned | None = None,
        on_revoked: OnRevoked | None = None,
    ) -> Consumer:
        """A new member of a group; it joins when it is first polled."""
        consumer = V3ioConsumer(self, group, start=start, on_assigned=on_assigned, on_revoked=on_revoked)
        self._consumers.add(consumer)
        return consumer

    def forget(self, consumer: V3ioConsumer) -> None:
        """A consumer is closed."""
        self._consumers.discard(consumer)
        self._read += consumer.read

    @property
    def statistics(self) -> Statistics:
        """How full the buffers are."""
        consumers = self._consumers
        capacity = self.options.buffer_messages + self.options.fetch_messages * sum(len(c.assigned) for c in consumers)
        buffered = self._waiting + sum(consumer.buffered for consumer in consumers)
        read = self._read + sum(consumer.read for consumer in consumers)
        return Statistics(appended=self._appended, read=read, buffered=buffered, capacity=capacity)

    async def close(self) -> None:
        """Write what is buffered, leave groups and let go of connections."""
        if self._stream is None:
            return
        stream = self._stream
        async with contextlib.AsyncExitStack() as last:
            last.push_async_callback(stream.close)
            for consumer in list(self._consumers):
                last.push_async_callback(consumer.close)
            await asyncio.gather(*(lane.drain() for lane in self._lanes))
        self._stream = None
