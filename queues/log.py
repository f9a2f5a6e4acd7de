"""``log:///dir/topic``: the embedded log. Durable, for many processes of one machine, without a server.

A topic is a directory with two LMDB environments, one for the messages and one for the groups, so that neither waits
for the other. Local file systems only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

from ..errors import GraphError, Unavailable, near
from .base import Commit, Consumer, OnAssigned, OnRevoked, Queue, Settings, Start, Statistics, TopicNotFound
from .doorbell import Bell
from .log_batch import divide, placed
from .log_consumer import LogConsumer
from .log_groups import Timing, check_name, group_names, live_members, read_commits
from .log_layout import Topic
from .log_session import LogSession
from .log_store import DURABILITIES, MAP_BYTES, Durability
from .log_topic import RETENTION_EVERY_SECONDS, TopicGroups, TopicLog, TopicOptions, groups, logs
from .message import Message
from .room import Room
from .shown import shown

PARTITIONS = 4
MOST_PARTITIONS = 4_000


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What ``Settings.options`` may hold for the embedded log.

    :param durability: ``fsync``: what was appended survives a power cut; ``metasync``: a power cut may take the last
        messages; ``none``: only the death of processes is survived
    :param map_bytes: how large the topic may grow on the disk; the file is sparse
    :param lease_timeout_seconds: a consumer that was silent for so long is taken for dead
    :param handover_timeout_seconds: how long a living one has to finish when a partition goes to another
    :param retention_every_seconds: how often a writer deletes what is not to stay
    :param buffer_messages: how many messages may wait to be written
    :param buffer_bytes: how many bytes of them
    """

    durability: Durability = "fsync"
    map_bytes: int = MAP_BYTES
    lease_timeout_seconds: float = 10.0
    handover_timeout_seconds: float = 30.0
    retention_every_seconds: float = RETENTION_EVERY_SECONDS
    buffer_messages: int = 20_000
    buffer_bytes: int = 64 << 20

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """Options as a user gave them.

        :raises GraphError: one is unknown, or its value can not be
        """
        known = {option.name: option.default for option in fields(cls)}
        for name, value in options.items():
            if name not in known:
                raise GraphError(f"log://: there is no option '{name}'{near(name, known)}; known: {', '.join(known)}")
            kind = int if isinstance(known[name], int) else int | float
            if name != "durability" and not (isinstance(value, kind) and value > 0):
                whole = "whole " if kind is int else ""
                raise GraphError(f"log://: the option {name} is a {whole}number above 0, not {value!r}")
        parsed = cls(**options)
        if parsed.durability not in DURABILITIES:
            raise GraphError(f"log://: durability is one of {', '.join(DURABILITIES)}, not {parsed.durability!r}")
        return parsed


class LogQueue(Queue):
    """A topic of the embedded log.

    :param url: ``log:///absolute/directory/topic``
    :param settings: how it is made and opened; its retention, where given, replaces what the topic had, and
        `retention_bytes` is shared evenly by the partitions

    >>> import tempfile
    >>> async def main(folder: str) -> list[bytes]:
    ...     async with LogQueue(f"log://{folder}/orders", Settings(partitions=1)) as queue:
    ...         await queue.append([Message(b"1"), Message(b"2")])
    ...         return [message.value for message in await queue.read(0, 0)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     asyncio.run(main(folder))
    [b'1', b'2']
    """

    def __init__(self, url: str, settings: Settings | None = None) -> None:
        self.url = url
        self.path = topic_path(url)
        self._settings = settings or Settings()
        self.options = LogOptions.parse(self._settings.options)
        partitions = self._settings.partitions or PARTITIONS
        if not 0 < partitions <= MOST_PARTITIONS:
            raise GraphError(f"{url}: a topic has 1 to {MOST_PARTITIONS} partitions, not {partitions}")
        self._wanted = Topic(partitions, self._settings.retention_seconds, self._settings.retention_bytes)
        self._log: TopicLog | None = None
        self._groups: TopicGroups | None = None
        self._bell: Bell | None = None
        self._consumers: list[LogConsumer] = []
        self._room = Room(self.options.buffer_messages, self.options.buffer_bytes)
        self._appended = self._read = self._turn = 0

    async def open(self) -> Self:
        """Make the topic when it does not exist, and open it.

        :raises TopicNotFound: it does not exist, and the settings say that it must
        """
        if self._log is None:
            if self._settings.must_exist and not is_topic(self.path):
                raise TopicNotFound(self.url)
            self._loop = asyncio.get_running_loop()
            given = self.options
            options = TopicOptions(given.durability, given.map_bytes, given.retention_every_seconds)
            self._log = logs.acquire(self.path, lambda: TopicLog(self.path, self._wanted, options), settings=options)
        return self

    @property
    def _topic(self) -> TopicLog:
        if self._log is None:
            raise Unavailable(f"{self.url} is not open: `await queue.open()` or `async with` it first")
        return self._log

    @property
    def _members(self) -> TopicGroups:
        if self._groups is None:
            timing = Timing(self.options.lease_timeout_seconds, self.options.handover_timeout_seconds)
            partitions, durability = self.partitions, self.options.durability
            self._groups = groups.acquire(
                self.path, lambda: TopicGroups(self.path, partitions, timing, durability), settings=timing
            )
        return self._groups

    @property
    def partitions(self) -> int:
        """How many partitions it has."""
        return self._topic.layout.topic.partitions

    async def append(self, messages: Sequence[Message]) -> list[Message]:
        """Append messages; calls that come while others are written share one transaction.

        :raises QueueFull: the map or the disk is full; nothing of the call was appended
        :raises TopicGone: the topic was deleted
        """
        if not messages:
            return []
        writer = self._topic.writer
        batches = divide(messages, self.partitions, turn=self._turn)
        self._turn += len(messages)
        size = sum(batch.size for batch in batches.values())
        await self._room.enter(len(messages), size)
        try:
            first = await writer.submit(lambda session: session.append(batches), size=size)
        finally:
            self._room.leave(len(messages), size)
        self._appended += len(messages)
        return placed(messages, batches, first)

    async def read(self, partition: int, offset: int, max_messages: int = 500) -> list[Message]:
        """Messages of a partition from an offset on, without waiting; about 16 MiB of them at a time.

        :raises TopicGone: the topic was deleted, and nothing is left of it here
        """
        layout = self._topic.layout
        self._check_partition(partition)
        messages = layout.store.read(lambda txn: layout.read(txn, partition, offset, max_messages))
        if not messages:
            layout.store.check_there()  # or nothing would ever come
        self._read += len(messages)
        return messages

    async def begin_offsets(self) -> dict[int, int]:
        """The oldest offset of each partition."""
        layout = self._topic.layout
        return layout.store.read(lambda txn: layout.range(txn, range(self.partitions)))[0]

    async def end_offsets(self) -> dict[int, int]:
        """The offset that each partition's next message will get."""
        layout = self._topic.layout
        return layout.store.read(lambda txn: layout.range(txn, range(self.partitions)))[1]

    async def offset_at(self, partition: int, timestamp: float) -> int:
        """The first offset whose message is not older than a time, in seconds since the epoch; the end if none is."""
        layout = self._topic.layout
        self._check_partition(partition)
        return layout.store.read(lambda txn: layout.offset_at(txn, partition, timestamp))

    def _check_partition(self, partition: int) -> None:
        if not 0 <= partition < self.partitions:
            raise ValueError(f"{self.url} has the partitions 0 to {self.partitions - 1}, not {partition}")

    async def trim(self, before: Mapping[int, int]) -> int:
        """Delete the messages before an offset in each partition named, in small steps; answers how many."""
        deleted = 0
        for partition, offset in before.items():
            self._check_partition(partition)

            def step(session: LogSession, partition: int = partition, offset: int = offset) -> int:
                return session.trim(partition, before=offset)

            while count := await self._topic.writer.submit(step, frees=True):
                deleted += count
        return deleted

    async def groups(self) -> list[str]:
        """The names of all groups that ever read this topic."""
        members = self._members
        return members.store.read(lambda txn: group_names(txn, members.table))

    async def members(self, group: str) -> list[str]:
        """The members of a group that are alive."""
        members, lease = self._members, self.options.lease_timeout_seconds
        return members.store.read(lambda txn: live_members(txn, members.table, check_name(group), lease))

    async def committed(self, group: str) -> dict[int, Commit]:
        """How far a group is; partitions without a commit are left out."""
        members = self._members
        return members.store.read(lambda txn: read_commits(txn, members.table, check_name(group)))

    async def commit(self, group: str, commits: Mapping[int, Commit]) -> None:
        """Set how far a group is, from outside: to replay or to skip. The group should have no members."""
        check_name(group)
        for partition in commits:
            self._check_partition(partition)
        await self._members.writer.submit(lambda session: session.set_commits(group, commits))

    def consumer(
        self,
        group: str,
        *,
        start: Start = "earliest",
        on_assigned: OnAssigned | None = None,
        on_revoked: OnRevoked | None = None,
    ) -> Consumer:
        """A new member of a group; it joins when it is first polled."""
        topic, members = self._topic, self._members
        if self._bell is None:
            self._bell = Bell(self.path / "bells", self._loop)
        consumer = LogConsumer(
            topic, members, self._bell, check_name(group),
            start=start, on_assigned=on_assigned, on_revoked=on_revoked,
        )  # fmt: skip
        self._consumers.append(consumer)
        return consumer

    @property
    def statistics(self) -> Statistics:
        """How full the buffer of messages to be written is."""
        read = self._read + sum(consumer.read for consumer in self._consumers)
        return Statistics(self._appended, read, self._room.messages, self.options.buffer_messages)

    async def close(self) -> None:
        """Write what is buffered, leave groups and let go of the files."""
        for consumer in self._consumers:
            await consumer.close()
        if self._bell is not None:
            self._bell.close()
            self._bell = None
        if self._groups is not None:
            self._groups = None
            await asyncio.to_thread(groups.release, self.path)
        if self._log is not None:
            self._log = None
            await asyncio.to_thread(logs.release, self.path)


def topic_path(url: str) -> Path:
    """The directory of a topic.

    >>> topic_path("log:///var/lib/millrace/orders").as_posix()
    '/var/lib/millrace/orders'

    :raises GraphError: the address is not of this form
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.scheme != "log" or parts.netloc or not path.is_absolute() or len(path.parts) < 3:
        raise GraphError(f"'{shown(url)}' is no address of an embedded log; write log:///absolute/directory/topic")
    return path


def is_topic(path: Path) -> bool:
    """Whether a directory is a topic of the embedded log."""
    return (path / "data.mdb").is_file() and (path / "bells").is_dir()


def at(url: str, settings: Settings) -> Queue:
    """The queue of an address, not open yet."""
    return LogQueue(url, settings)


async def list_topics(url: str, settings: Settings) -> list[str]:
    """The addresses of the topics in a directory; of a topic's own address that."""
    folder = Path(unquote(urlsplit(url).path))
    if urlsplit(url).netloc or not folder.is_absolute():
        raise GraphError(f"'{shown(url)}' is no address of a directory; write log:///absolute/directory")
    if is_topic(folder):
        return [url]
    found = sorted(path for path in folder.iterdir() if path.is_dir() and is_topic(path)) if folder.is_dir() else []
    return [f"log://{quote(str(path))}" for path in found]
