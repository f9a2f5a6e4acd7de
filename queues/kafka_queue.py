"""A Kafka topic as a queue, on whichever client."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Self, TypeVar

from ..errors import GraphError, MillraceError, Unavailable
from .base import Commit, Consumer, OnAssigned, OnRevoked, Queue, Settings, Start, Statistics, TopicNotFound
from .kafka_address import KafkaAddress, parse_address
from .kafka_appender import KafkaAppender
from .kafka_buffers import Buffers
from .kafka_client import Bounds, Client, Cluster
from .kafka_consumer import KafkaConsumer
from .kafka_errors import KafkaFault, explained
from .kafka_options import KafkaOptions
from .kafka_transaction import KafkaTransaction, Transactions
from .message import Message
from .room import Room

log = logging.getLogger(__name__)
T = TypeVar("T")
WAIT_SECONDS = 0.1
MOST_MARKS = 100
SHARE_OF_INTERVAL = 0.5  # of max_poll_interval_ms may pass in on_revoked; at the whole the broker throws a member out


class KafkaQueue(Queue):
    """A topic of a Kafka cluster. Made by :func:`millrace.queues.kafka.at`.

    :param url: ``kafka://host:9092,host2:9092/topic``
    :param settings: how it is made when it does not exist; `retention_bytes` is shared evenly by the partitions
    :param client: makes the client's parts
    """

    def __init__(self, url: str, settings: Settings, client: Callable[[KafkaAddress, KafkaOptions], Client]) -> None:
        self.url = url
        self.address = parse_address(url)
        self.options = KafkaOptions.parse(settings.options)
        self._settings = settings
        self._client = client(self.address, self.options)
        self._cluster: Cluster | None = None
        self._appender: KafkaAppender | None = None
        self._transactions: Transactions | None = None
        self._asking = ThreadPoolExecutor(1, "kafka-ask")
        self._consumers: list[KafkaConsumer] = []
        self._partitions = self._turn = self._read = 0
        if settings.partitions is not None and settings.partitions < 1:
            raise GraphError(f"{url}: a topic has 1 or more partitions, not {settings.partitions}")

    def __repr__(self) -> str:
        return f"KafkaQueue({self.address.url!r})"

    async def open(self) -> Self:
        """Connect, and make the topic when it does not exist; one that exists stays as it is.

        :raises Unavailable: no broker answers
        :raises UpstreamError: the broker refused the login, or to make the topic
        """
        if self._cluster is None:
            cluster = await self._asked(self._client.cluster)
            try:
                self._partitions = await self._asked(cluster.partitions) or await self._made(cluster)
                if self.options.transactional_id:
                    await self._own_transactions.take_over()
            except BaseException:
                await self._asked(cluster.close)
                raise
            wanted = self._settings.partitions
            if wanted not in (None, self._partitions):
                log.info("%s exists and has %d partitions, not %d", self.address.url, self._partitions, wanted)
            room = Room(self.options.buffer_messages, self.options.buffer_bytes)
            self._cluster, self._appender = cluster, KafkaAppender(self._client.sender, room)
        return self

    async def _made(self, cluster: Cluster) -> int:
        """Make the topic, and wait until the brokers know of it."""
        if self._settings.must_exist:
            raise TopicNotFound(self.address.url)
        wanted = self._settings.partitions or -1
        await self._asked(cluster.create, wanted, self.options.replication_factor, self._configs(wanted))
        for _ in range(int(self.options.connect_timeout_seconds / WAIT_SECONDS) + 1):
            if found := await self._asked(cluster.partitions):
                return found
            await asyncio.sleep(WAIT_SECONDS)
        raise Unavailable(f"{self.address.url}: the topic was made, and the brokers do not show it yet: try again")

    def _configs(self, partitions: int) -> dict[str, str]:
        configs = {}
        if self._settings.retention_seconds is not None:
            configs["retention.ms"] = str(int(self._settings.retention_seconds * 1000))
        if self._settings.retention_bytes is not None:
            configs["retention.bytes"] = str(self._settings.retention_bytes // max(1, partitions))
        return configs

    async def _asked(self, question: Callable[..., T], *arguments: object) -> T:
        """The client's answer, from the thread for questions."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._asking, question, *arguments)
        except KafkaFault as fault:
            raise self._explained(fault) from fault

    def _explained(self, fault: KafkaFault) -> MillraceError:
        return explained(fault, self.address, self.options)

    @property
    def _open(self) -> Cluster:
        if self._cluster is None:
            raise self._closed
        return self._cluster

    @property
    def _closed(self) -> Unavailable:
        return Unavailable(f"{self.address.url} is not open: `await queue.open()` or `async with` it first")

    @property
    def partitions(self) -> int:
        """How many partitions it had when it was opened."""
        return self._partitions if self._open else 0

    async def append(self, messages: Sequence[Message]) -> list[Message]:
        """Append messages; returns when all replicas in sync have them. Calls share requests to the brokers.

        :raises Unavailable: the brokers did not confirm in time; some of the messages may be there
        :raises InvalidInput: a message is larger than the topic takes
        """
        if not messages:
            return []
        appender = self._appender
        if appender is None:
            raise self._closed
        try:
            return await appender.append([self._placed(message) for message in messages])
        except KafkaFault as fault:
            raise self._explained(fault) from fault

    def _placed(self, message: Message) -> Message:
        """The message for its partition; where it has a key the client finds that."""
        if message.partition >= self.partitions:
            has = f"{self.address.url} has the partitions 0 to {self.partitions - 1}"
            raise ValueError(f"{has}, the message is for {message.partition}")
        if message.partition >= 0 or message.key is not None:
            return message
        self._turn = (self._turn + 1) % self.partitions
        return Message(message.value, None, message.headers, self._turn, -1, message.timestamp)

    async def read(self, partition: int, offset: int, max_messages: int = 500) -> list[Message]:
        """Messages of a partition from an offset on, without waiting for new ones."""
        self._check(partition)
        cluster = self._open
        begin, end = (await self._bounds([partition]))[partition]
        offset = max(offset, begin)
        if offset >= end:
            return []
        messages = await self._asked(cluster.read, partition, offset, end, max_messages)
        self._read += len(messages)
        return messages

    def _check(self, partition: int) -> None:
        if not 0 <= partition < self.partitions:
            raise ValueError(f"{self.address.url} has the partitions 0 to {self.partitions - 1}, not {partition}")

    async def _bounds(self, partitions: Iterable[int]) -> Bounds:
        return await self._asked(self._open.bounds, list(partitions))

    async def begin_offsets(self) -> dict[int, int]:
        """The oldest offset of each partition."""
        return {p: begin for p, (begin, _) in (await self._bounds(range(self.partitions))).items()}

    async def end_offsets(self) -> dict[int, int]:
        """The offset that each partition's next message will get."""
        return {p: end for p, (_, end) in (await self._bounds(range(self.partitions))).items()}

    async def offset_at(self, partition: int, timestamp: float) -> int:
        """The first offset whose message is not older than a time, in seconds since the epoch; the end if none is."""
        self._check(partition)
        found = await self._asked(self._open.offset_at, partition, max(0, int(-(-timestamp * 1000 // 1))))
        return (await self._bounds([partition]))[partition][1] if found is None else found

    async def trim(self, before: Mapping[int, int]) -> int:
        """Delete the messages before an offset in each partition named; answers how many."""
        for partition in before:
            self._check(partition)
        bounds = await self._bounds(before)
        await self._asked(self._open.trim, {p: min(offset, bounds[p][1]) for p, offset in before.items()})
        return sum(max(0, min(offset, bounds[p][1]) - bounds[p][0]) for p, offset in before.items())

    async def groups(self) -> list[str]:
        """The names of the groups that have committed here."""
        names = await self._asked(self._open.groups)
        return sorted([name for name in names if await self.committed(name)])

    async def members(self, group: str) -> list[str]:
        """The members of a group that are alive."""
        return await self._asked(self._open.members, group)

    async def committed(self, group: str) -> dict[int, Commit]:
        """How far a group is; partitions without a commit are left out."""
        offsets = await self._asked(self._open.committed, group)
        return {p: Commit.parse(offset, metadata) for p, (offset, metadata) in offsets.items()}

    async def commit(self, group: str, commits: Mapping[int, Commit]) -> None:
        """Set how far the group is, from outside: to replay or to skip.

        :raises Conflict: the group has members
        """
        for partition in commits:
            self._check(partition)
        await self._asked(self._open.commit, group, {p: (c.watermark, c.metadata) for p, c in commits.items()})

    async def lag(self, group: str) -> dict[int, int]:
        """How many messages of each partition a group has not done yet; the marks of transactions are not counted.

        Only where up to 100 offsets are left it is looked whether these are such marks and nothing else.
        """
        lags = await super().lag(group)
        if any(0 < count <= MOST_MARKS for count in lags.values()):
            commits = await self.committed(group)
            for partition, count in lags.items():
                if 0 < count <= MOST_MARKS and partition in commits:
                    left = await self.read(partition, commits[partition].watermark, 1)
                    lags[partition] = count if left else 0
        return lags

    def consumer(
        self,
        group: str,
        *,
        start: Start = "earliest",
        on_assigned: OnAssigned | None = None,
        on_revoked: OnRevoked | None = None,
    ) -> Consumer:
        """A new member of a group; it joins when it is first polled. On a running event loop."""
        interval = self.options.of_client["max_poll_interval_ms"] / 1000
        consumer = KafkaConsumer(
            f"{self.address.url} group '{group}'",
            lambda rebalance: self._client.member(group, rebalance),
            self._bounds,
            explain=self._explained,
            start=start, on_assigned=on_assigned, on_revoked=on_revoked,
            buffers=Buffers(self.options.buffer_messages, self.options.buffer_bytes),
            drain_seconds=min(self.options.drain_timeout_seconds, SHARE_OF_INTERVAL * interval),
        )  # fmt: skip
        self._consumers.append(consumer)
        return consumer

    @asynccontextmanager
    async def transaction(self, consumer: Consumer, commits: Mapping[int, Commit]) -> AsyncIterator[KafkaTransaction]:
        """Write to topics of this cluster and commit what was read here, all or nothing; the block's end is the commit.

        One transaction at a time is open in a queue; a second one waits. An exception in the block aborts it: nothing
        was written and nothing committed, so handle the same messages again.

        :param consumer: of this queue, with the partitions of `commits`
        :raises Conflict: another process has the same `transactional_id`, or this took over `transaction_timeout_ms`
        :raises UpstreamError: a partition has gone to another member meanwhile
        """
        if not isinstance(consumer, KafkaConsumer) or consumer not in self._consumers:
            raise ValueError(f"{self.address.url}: the consumer of a transaction is one of `queue.consumer(group)`")
        if foreign := commits.keys() - consumer.assigned:
            raise ValueError(f"{self.address.url}: partitions {sorted(foreign)} are not this consumer's")
        offsets = {partition: (commit.watermark, commit.metadata) for partition, commit in commits.items()}
        async with self._own_transactions.transaction(offsets, consumer.membership) as transaction:
            yield transaction

    async def end_transactions(self) -> None:
        """After a transaction that failed: return when none of this queue is open, so that the commits are certain."""
        await self._own_transactions.take_over()

    @property
    def _own_transactions(self) -> Transactions:
        if self._transactions is None:
            own = self.options.transactional_id or f"millrace-{uuid.uuid4().hex}"
            make = partial(self._client.transactor, f"{own}-{self.address.topic}")
            self._transactions = Transactions(make, placed=self._within, explain=self._explained)
        return self._transactions

    def _within(self, queue: Queue, messages: Sequence[Message]) -> tuple[str, list[Message]]:
        """Messages for a topic that a transaction of this one can write to."""
        if not isinstance(queue, KafkaQueue) or queue.address.servers != self.address.servers:
            raise ValueError(f"{queue.url} is no topic at {self.address.servers}: a transaction stays in one cluster")
        return queue.address.topic, [queue._placed(message) for message in messages]

    @property
    def statistics(self) -> Statistics:
        """How full the buffer of messages to be confirmed is."""
        read = self._read + sum(consumer.read for consumer in self._consumers)
        appender = self._appender
        if appender is None:
            return Statistics(0, read, 0, self.options.buffer_messages)
        return Statistics(appender.appended, read, appender.buffered, self.options.buffer_messages)

    async def close(self) -> None:
        """Wait for confirmations, leave groups and let go of connections."""
        consumers, self._consumers = self._consumers, []
        for consumer in consumers:
            await consumer.close()
            self._read += consumer.read
        if self._transactions is not None:
            transactions, self._transactions = self._transactions, None
            await transactions.close()
        if self._appender is not None:
            appender, self._appender = self._appender, None
            await appender.close(self.options.drain_timeout_seconds)
        if self._cluster is not None:
            cluster, self._cluster = self._cluster, None
            await self._asked(cluster.close)
        self._asking.shutdown(wait=False)
