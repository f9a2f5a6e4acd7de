"""A member of a Kafka group through confluent-kafka."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .kafka_client import Member, Offsets, Rebalance, Records
from .kafka_confluent import (
    KafkaException,
    RawConsumer,
    TopicPartition,
    Watched,
    by_partition,
    checked,
    fail,
    messages_of,
    offsets_of,
    places_of,
)
from .kafka_errands import Errands
from .message import Message

MOST_MESSAGES = 500
ERRAND_SECONDS = 0.005  # nothing wakes a thread that is in poll(); so long a commit waits for it at most
COMMITTED_SECONDS = 10.0


class ConfluentMember(Member):
    """Reads in a group. The callbacks run inside :meth:`poll`, and wait for the loop.

    A call from another thread can hang while a callback runs, so the polling thread makes all calls, between its polls
    and inside the callbacks; another thread that commits waits for it.
    """

    def __init__(self, topic: str, settings: dict[str, Any], rebalance: Rebalance) -> None:
        self._topic = topic
        self._rebalance = rebalance
        self._watched = Watched()
        self._errands = Errands(rebalance.wanted)
        self._consumer = self._watched.made(RawConsumer, settings)
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def _assigned(self, consumer: RawConsumer, partitions: list[TopicPartition]) -> None:
        starts = self._errands.do_until(self._rebalance.assigned([p.partition for p in partitions]))
        consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in starts.items()])

    def _revoked(self, consumer: RawConsumer, partitions: list[TopicPartition]) -> None:
        self._errands.do_until(self._rebalance.revoked([p.partition for p in partitions]))

    def _lost(self, consumer: RawConsumer, partitions: list[TopicPartition]) -> None:
        self._errands.do_until(self._rebalance.lost([p.partition for p in partitions]))

    def attend(self) -> None:
        self._errands.do()

    def poll(self, timeout_seconds: float) -> Records:
        try:
            for _ in range(max(1, round(timeout_seconds / ERRAND_SECONDS))):
                self._errands.do()
                # consume() waits for as many as it may return; poll() for one.
                first = self._consumer.poll(min(timeout_seconds, ERRAND_SECONDS))
                if first is not None:
                    return by_partition([first, *self._consumer.consume(MOST_MESSAGES - 1, 0)])
        except KafkaException as error:
            fail(error)
        if self._watched.login is not None:
            login, self._watched.login = self._watched.login, None
            raise login
        return {}

    def size(self, records: Sequence[Any]) -> int:
        return sum(map(len, records))

    def messages(self, records: Iterable[Any]) -> list[Message]:
        return messages_of(records)

    def _mine(self, partitions: Iterable[int]) -> list[TopicPartition]:
        wanted = set(partitions)
        return [p for p in self._consumer.assignment() if p.partition in wanted]

    def pause(self, partitions: Iterable[int]) -> None:
        self._consumer.pause(self._mine(partitions))

    def resume(self, partitions: Iterable[int]) -> None:
        self._consumer.resume(self._mine(partitions))

    def seek(self, partition: int, offset: int) -> None:
        try:
            if self._mine([partition]):
                self._consumer.seek(TopicPartition(self._topic, partition, offset))
        except KafkaException as error:
            fail(error)

    def commit(self, offsets: Offsets) -> None:
        stored = places_of(self._topic, offsets)
        try:
            checked(self._errands.ask(lambda: self._consumer.commit(offsets=stored, asynchronous=False)))
        except KafkaException as error:
            fail(error)

    def committed(self, partitions: Iterable[int]) -> Offsets:
        wanted = [TopicPartition(self._topic, p) for p in partitions]
        try:
            return offsets_of(checked(self._errands.ask(lambda: self._consumer.committed(wanted, COMMITTED_SECONDS))))
        except KafkaException as error:
            fail(error)

    def membership(self) -> Any:
        return self._errands.ask(self._consumer.consumer_group_metadata)

    def close(self) -> None:
        try:
            self._errands.do()
            self._consumer.close()
        finally:
            self._errands.close()
