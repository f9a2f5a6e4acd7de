"""Questions to the brokers through confluent-kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from .kafka_client import Bounds, Cluster, Offsets
from .kafka_confluent import (
    AdminClient,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    NewTopic,
    OffsetSpec,
    RawConsumer,
    TopicPartition,
    Watched,
    by_partition,
    checked,
    fail,
    messages_of,
    offsets_of,
    passes,
    places_of,
)
from .kafka_errors import KafkaFault
from .kafka_options import KafkaOptions
from .message import Message

T = TypeVar("T")
READ_SECONDS = 5.0
REQUEST_WAIT_MS = 10  # a request that waits at the broker keeps the next one waiting
LOGIN_SECONDS = 1.0
RETRY_SECONDS = 0.1


class ConfluentCluster(Cluster):
    """Asks the brokers."""

    def __init__(
        self, topic: str, options: KafkaOptions, settings: dict[str, Any], reading: Callable[[], dict[str, Any]]
    ) -> None:
        self.topic = topic
        self._seconds = options.connect_timeout_seconds
        self._watched = Watched()
        self._reading = reading
        self._reader: RawConsumer | None = None
        self._next: tuple[int, int] | None = None
        self._admin = self._watched.made(AdminClient, settings)

    def _retried(self, question: Callable[[], T]) -> T:
        """The answer to a question, which is asked again where nobody can answer it yet."""
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                return question()
            except KafkaException as error:
                if not passes(error) or time.monotonic() > deadline:
                    fail(error)
                time.sleep(RETRY_SECONDS)
            except TimeoutError as error:
                raise KafkaFault("unreachable", "no answer in time") from error

    def _answers(self, ask: Callable[[], Mapping[Any, Any]]) -> dict[Any, Any]:
        """The answers to a request of several parts."""
        return self._retried(lambda: {key: future.result(self._seconds) for key, future in ask().items()})

    def _answer(self, ask: Callable[[], Mapping[Any, Any]]) -> Any:
        """The answer to a request of one part."""
        (answer,) = self._answers(ask).values()
        return answer

    def _places(self, ask: Callable[[], Mapping[Any, Any]]) -> list[TopicPartition]:
        """The partitions of the answer to a request about one group."""

        def question() -> list[TopicPartition]:
            (future,) = ask().values()
            return checked(future.result(self._seconds).topic_partitions)

        return self._retried(question)

    def partitions(self) -> int:
        topics = self._topics()  # asking for one topic would make it
        return len(topics[self.topic].partitions) if self.topic in topics else 0

    def topics(self) -> list[str]:
        return [name for name in self._topics() if not name.startswith("__")]

    def _topics(self) -> Mapping[str, Any]:
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                return self._admin.list_topics(timeout=LOGIN_SECONDS).topics
            except KafkaException as error:
                self._admin.poll(0)  # takes the news
                if self._watched.login is not None or time.monotonic() > deadline:
                    self._watched.fail(error)

    def create(self, partitions: int, replication_factor: int, configs: Mapping[str, str]) -> None:
        topic = NewTopic(self.topic, partitions, replication_factor, config=dict(configs))
        try:
            self._answer(lambda: self._admin.create_topics([topic]))
        except KafkaFault as fault:
            if fault.kind != "exists":
                raise

    def bounds(self, partitions: Iterable[int]) -> Bounds:
        wanted = [TopicPartition(self.topic, p) for p in partitions]
        begins = self._offsets(wanted, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        ends = self._offsets(wanted, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {partition: (begin, ends[partition]) for partition, begin in begins.items()}

    def _offsets(self, places: Iterable[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
        wanted = dict.fromkeys(places, spec)
        isolation = IsolationLevel.READ_COMMITTED
        answers = self._answers(
            lambda: self._admin.list_offsets(wanted, isolation_level=isolation, request_timeout=self._seconds)
        )
        return {place.partition: answer.offset for place, answer in answers.items()}

    def offset_at(self, partition: int, timestamp_ms: int) -> int | None:
        place = TopicPartition(self.topic, partition)
        offset = self._offsets([place], OffsetSpec.for_timestamp(timestamp_ms))[partition]
        return offset if offset >= 0 else None

    def read(self, partition: int, offset: int, end: int, max_messages: int) -> list[Message]:
        try:
            reader = self._reader = self._reader or self._watched.made(RawConsumer, self._reading_to_the_end())
            if self._next != (partition, offset):
                reader.assign([TopicPartition(self.topic, partition, offset)])
            messages = self._found(reader, partition, end, max_messages)
            self._next = (partition, messages[-1].offset + 1) if messages else None
            if not messages or messages[-1].offset + 1 >= end:
                reader.unassign()  # it would ask for more, and the next read wait for the answer
                self._next = None
        except KafkaException as error:
            self._next = None
            fail(error)
        return messages

    def _reading_to_the_end(self) -> dict[str, Any]:
        return {**self._reading(), "enable.partition.eof": True, "fetch.wait.max.ms": REQUEST_WAIT_MS}

    def _found(self, reader: RawConsumer, partition: int, end: int, max_messages: int) -> list[Message]:
        """The next messages; none at the end, or when their time is over.

        Where it comes to an end the client says so, and says it again later when nobody listened.
        """
        deadline = time.monotonic() + READ_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            first = reader.poll(left)
            if first is None:
                break
            records = by_partition([first, *reader.consume(max_messages - 1, 0)]).get(partition)
            if records:
                return messages_of(records)
            if first.error() is not None and first.partition() == partition and (first.offset() or 0) >= end:
                break
        return []

    def committed(self, group: str) -> Offsets:
        asked = [ConsumerGroupTopicPartitions(group)]
        places = self._places(lambda: self._admin.list_consumer_group_offsets(asked))
        return offsets_of([place for place in places if place.topic == self.topic])

    def commit(self, group: str, offsets: Mapping[int, tuple[int, str]]) -> None:
        stored = [ConsumerGroupTopicPartitions(group, places_of(self.topic, offsets))]
        try:
            self._places(lambda: self._admin.alter_consumer_group_offsets(stored))
        except KafkaFault as fault:
            raise KafkaFault("members", fault.detail) if fault.kind == "moved" else fault from None

    def groups(self) -> list[str]:
        answer = self._answer(lambda: {"": self._admin.list_consumer_groups()})
        return [group.group_id for group in answer.valid]

    def members(self, group: str) -> list[str]:
        try:
            answer = self._answer(lambda: self._admin.describe_consumer_groups([group]))
        except KafkaFault as fault:
            if fault.kind == "no_group":
                return []
            raise
        return [member.member_id for member in answer.members]

    def trim(self, before: Mapping[int, int]) -> None:
        places = [TopicPartition(self.topic, partition, offset) for partition, offset in before.items()]
        self._answers(lambda: self._admin.delete_records(places))

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
