"""Questions to the brokers through kafka-python."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from .kafka_client import Bounds, Cluster, Offsets
from .kafka_errors import KafkaFault
from .kafka_options import KafkaOptions
from .kafka_python import (
    KafkaAdminClient,
    RawConsumer,
    TopicPartition,
    errors,
    fail,
    fault_of,
    made,
    messages_of,
    places_of,
)
from .message import Message

T = TypeVar("T")
READ_SECONDS = 5.0
SLICE_SECONDS = 0.2
RETRY_SECONDS = 0.1


class PythonCluster(Cluster):
    """Asks the brokers."""

    def __init__(
        self, topic: str, options: KafkaOptions, settings: dict[str, Any], reading: Callable[[], dict[str, Any]]
    ) -> None:
        self.topic = topic
        self._milliseconds = int(options.connect_timeout_seconds * 1000)
        self._reading = reading
        self._reader: RawConsumer = None
        self._next: tuple[int, int] | None = None
        self._admin = made(KafkaAdminClient, settings)

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic, partition)

    def _retried(self, question: Callable[..., T], *arguments: object) -> T:
        """The answer of the admin client, which does not ask again by itself while a coordinator is coming up."""
        deadline = time.monotonic() + self._milliseconds / 1000
        while True:
            try:
                return question(*arguments)
            except errors.RetriableError as error:
                if time.monotonic() > deadline:
                    fail(error)
                time.sleep(RETRY_SECONDS)
            except errors.KafkaError as error:
                fail(error)

    def partitions(self) -> int:
        if self.topic not in self._retried(self._admin.list_topics):
            return 0
        (topic,) = self._retried(self._admin.describe_topics, [self.topic])
        return len(topic["partitions"])

    def topics(self) -> list[str]:
        return [name for name in self._retried(self._admin.list_topics) if not name.startswith("__")]

    def create(self, partitions: int, replication_factor: int, configs: Mapping[str, str]) -> None:
        topic = {"num_partitions": partitions, "replication_factor": replication_factor, "configs": dict(configs)}
        try:
            self._admin.create_topics({self.topic: topic}, timeout_ms=self._milliseconds)
            self._admin.wait_for_topics([self.topic], timeout_ms=self._milliseconds)
        except errors.TopicAlreadyExistsError:
            return
        except errors.KafkaError as error:
            fail(error)

    def _reads(self) -> RawConsumer:
        if self._reader is None:
            self._reader = made(RawConsumer, self._reading())
        return self._reader

    def bounds(self, partitions: Iterable[int]) -> Bounds:
        places = [self._place(p) for p in partitions]
        try:
            begins = self._reads().beginning_offsets(places, timeout_ms=self._milliseconds)
            ends = self._reads().end_offsets(places, timeout_ms=self._milliseconds)
        except errors.KafkaError as error:
            fail(error)
        return {place.partition: (begins[place], ends[place]) for place in places}

    def offset_at(self, partition: int, timestamp_ms: int) -> int | None:
        place = self._place(partition)
        try:
            found = self._reads().offsets_for_times({place: timestamp_ms}, timeout_ms=self._milliseconds)[place]
        except errors.KafkaError as error:
            fail(error)
        return None if found is None or found.offset < 0 else int(found.offset)

    def read(self, partition: int, offset: int, end: int, max_messages: int) -> list[Message]:
        reader, place = self._reads(), self._place(partition)
        try:
            if self._next != (partition, offset):
                reader.assign([place])
                reader.seek(place, offset)
            messages = self._found(reader, place, end, max_messages)
        except errors.KafkaError as error:
            self._next = None
            fail(error)
        self._next = (partition, messages[-1].offset + 1) if messages else None
        return messages

    def _found(self, reader: RawConsumer, place: TopicPartition, end: int, max_messages: int) -> list[Message]:
        """The next messages; none at the end, or when their time is over."""
        deadline = time.monotonic() + READ_SECONDS
        while time.monotonic() < deadline:
            found = reader.poll(timeout_ms=int(SLICE_SECONDS * 1000), max_records=max_messages)
            if found:
                return messages_of(found[place])
            if reader.position(place) >= end:
                break
        return []

    def committed(self, group: str) -> Offsets:
        found = self._retried(self._admin.list_group_offsets, group)[group]
        return {
            place.partition: (stored.offset, stored.metadata or "")
            for place, stored in found.items()
            if place.topic == self.topic and stored.offset >= 0
        }

    def commit(self, group: str, offsets: Mapping[int, tuple[int, str]]) -> None:
        self._retried(self._commit, group, dict(offsets))

    def _commit(self, group: str, offsets: Offsets) -> None:
        for answer in self._admin.alter_group_offsets(group, places_of(self.topic, offsets)).values():
            fault = fault_of(answer())
            if fault.kind == "moved":
                raise KafkaFault("members", fault.detail)
            if answer is not errors.NoError:
                raise answer()

    def groups(self) -> list[str]:
        return [group["group_id"] for group in self._retried(self._admin.list_groups)]

    def members(self, group: str) -> list[str]:
        try:
            found = self._retried(self._admin.describe_groups, [group])
        except KafkaFault as fault:
            if fault.kind == "no_group":
                return []
            raise
        return [member["member_id"] for member in found[group]["members"]]

    def trim(self, before: Mapping[int, int]) -> None:
        self._retried(self._admin.delete_records, {self._place(p): o for p, o in before.items()}, self._milliseconds)

    def close(self) -> None:
        try:
            if self._reader is not None:
                self._reader.close(autocommit=False)
            self._admin.close()
        except errors.KafkaError as error:
            fail(error)
