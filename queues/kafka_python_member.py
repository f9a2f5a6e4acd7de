"""A member of a Kafka group through kafka-python."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from .kafka_client import Member, Offsets, Rebalance, Records
from .kafka_python import (
    AsyncConsumerRebalanceListener,
    Connections,
    KafkaFuture,
    MemberState,
    NetworkSelector,
    RawConsumer,
    TopicPartition,
    errors,
    fail,
    made,
    messages_of,
    places_of,
)
from .message import Message

T = TypeVar("T")
MOST_MESSAGES = 500
JOIN_SPARE_SECONDS = 10.0


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Hands the news over and waits on the client's own loop, which sends heartbeats and commits meanwhile."""

    def __init__(self, rebalance: Rebalance, net: NetworkSelector) -> None:
        self._rebalance, self._net = rebalance, net
        self.consumer: RawConsumer = None

    async def _until(self, future: Future[T]) -> T:
        """Wait for another thread."""
        done = KafkaFuture()
        future.add_done_callback(lambda _: self._net.call_soon_threadsafe(lambda: done.success(None) and None))
        await done
        return future.result()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._until(self._rebalance.revoked([place.partition for place in revoked]))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        topics = {place.partition: place for place in assigned}
        starts = await self._until(self._rebalance.assigned(list(topics)))
        for partition, offset in starts.items():
            self.consumer.seek(topics[partition], offset)
        self.consumer.pause(*(place for partition, place in topics.items() if partition not in starts))

    def lose(self, lost: Iterable[TopicPartition]) -> None:
        """Tell of partitions that have gone without the client's saying so."""
        self._rebalance.lost([place.partition for place in lost]).result()

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        await self._until(self._rebalance.lost([place.partition for place in lost]))


class PythonMember(Member):
    """Reads in a group. The client's own thread does the network and the heartbeats."""

    def __init__(self, topic: str, settings: dict[str, Any], rebalance: Rebalance) -> None:
        self._topic = topic
        connections = Connections()
        self._consumer = made(RawConsumer, settings, connections)
        listener = _Listener(rebalance, connections.net)
        listener.consumer = self._consumer
        self._listener = listener
        self._longest_join_seconds = settings["max_poll_interval_ms"] / 1000 + JOIN_SPARE_SECONDS
        self._stable_at = time.monotonic()
        try:
            self._subscribe()
        except errors.KafkaError as error:
            self._consumer.close(autocommit=False)
            fail(error)

    def _subscribe(self) -> None:
        """Join at the next poll, with the topic's partitions known.

        Version 3.0.12 that leads a group and learns of partitions joins anew for that; a poll that ends meanwhile
        forgets that it was joining (ConsumerCoordinator.need_rejoin), and it never becomes a member.
        """
        self._consumer.subscribe([self._topic], listener=self._listener)
        self._consumer.partitions_for_topic(self._topic)

    def attend(self) -> None:
        """Nothing: the client's own thread does what others wait for."""

    def poll(self, timeout_seconds: float) -> Records:
        try:
            found = self._consumer.poll(timeout_ms=int(timeout_seconds * 1000), max_records=MOST_MESSAGES)
            if not found:
                self._join_again_if_stuck()
        except errors.KafkaError as error:
            fail(error)
        return {place.partition: records for place, records in found.items()}

    def _join_again_if_stuck(self) -> None:
        """The same fault when a topic gets more partitions; the broker ends every true join within that time."""
        now = time.monotonic()
        if self._consumer.group_metadata().state is not MemberState.REBALANCING:
            self._stable_at = now
        elif now - self._stable_at > self._longest_join_seconds:
            self._listener.lose(self._consumer.assignment())
            self._consumer.unsubscribe()
            self._subscribe()
            self._stable_at = now

    def size(self, records: Sequence[Any]) -> int:
        return sum([len(record.value or b"") for record in records])

    def messages(self, records: Iterable[Any]) -> list[Message]:
        return messages_of(records)

    def _mine(self, partitions: Iterable[int]) -> list[TopicPartition]:
        wanted = set(partitions)
        return [place for place in self._consumer.assignment() if place.partition in wanted]

    def pause(self, partitions: Iterable[int]) -> None:
        self._consumer.pause(*self._mine(partitions))

    def resume(self, partitions: Iterable[int]) -> None:
        self._consumer.resume(*self._mine(partitions))

    def seek(self, partition: int, offset: int) -> None:
        for place in self._mine([partition]):
            self._consumer.seek(place, offset)

    def commit(self, offsets: Offsets) -> None:
        try:
            self._consumer.commit(places_of(self._topic, offsets))
        except errors.KafkaError as error:
            fail(error)

    def committed(self, partitions: Iterable[int]) -> Offsets:
        stored: Offsets = {}
        try:
            for partition in partitions:
                found = self._consumer.committed(TopicPartition(self._topic, partition), metadata=True)
                if found is not None and found.offset >= 0:
                    stored[partition] = (found.offset, found.metadata or "")
        except errors.KafkaError as error:
            fail(error)
        return stored

    def membership(self) -> Any:
        return self._consumer.group_metadata()

    def close(self) -> None:
        try:
            self._consumer.close(autocommit=False)
        except errors.KafkaError as error:
            fail(error)
