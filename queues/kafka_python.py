"""Kafka through kafka-python. The only file that imports it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, NoReturn, TypeVar

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition, errors
from kafka import KafkaConsumer as RawConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.net.selector import KernelEvent
from kafka.structs import OffsetAndMetadata

from .kafka_address import KafkaAddress
from .kafka_client import Bounds, Client, Cluster, Confirmed, Member, Offsets, Rebalance, Sender, header_dict, header_list
from .kafka_errors import KafkaFault, Kind
from .kafka_options import KafkaOptions
from .message import Message

T = TypeVar("T")
MOST_MESSAGES = 500
READ_SECONDS = 5.0
LISTEN_SECONDS = 0.005
KINDS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Kind], ...] = (
    ((errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError), "login"),
    (errors.AuthorizationError, "forbidden"),
    ((errors.UnknownTopicOrPartitionError, errors.InvalidTopicError), "missing"),
    ((errors.MessageSizeTooLargeError, errors.RecordListTooLargeError), "too_large"),
    (
        (
            errors.CommitFailedError,
            errors.RebalanceInProgressError,
            errors.IllegalGenerationError,
            errors.UnknownMemberIdError,
            errors.FencedInstanceIdError,
        ),
        "moved",
    ),
    (errors.NonEmptyGroupError, "members"),
    ((errors.KafkaTimeoutError, errors.KafkaConnectionError, errors.RequestTimedOutError), "unreachable"),
    ((errors.NodeNotReadyError, errors.InvalidMetadataError, errors.CoordinatorNotAvailableError), "unreachable"),
)


def fault_of(error: Exception) -> KafkaFault:
    """What an error of kafka-python means."""
    detail = f"{type(error).__name__}: {error}".removesuffix(": ")
    return KafkaFault(next((kind for types, kind in KINDS if isinstance(error, types)), "other"), detail)


def fail(error: Exception) -> NoReturn:
    """Raise an error of the client as a fault."""
    raise fault_of(error) from error


class PythonClient(Client):
    """Makes the parts on kafka-python."""

    def __init__(self, address: KafkaAddress, options: KafkaOptions) -> None:
        self._address, self._options = address, options

    def cluster(self) -> Cluster:
        return PythonCluster(self._address.topic, self._options, self._settings("connection"), self._reading)

    def sender(self) -> Sender:
        settings = {**self._settings("connection", "producer"), "acks": "all", "enable_idempotence": True}
        settings["max_block_ms"] = settings["delivery_timeout_ms"]
        settings["request_timeout_ms"] = min(settings.get("request_timeout_ms", 30_000), settings["delivery_timeout_ms"])
        return PythonSender(self._address.topic, settings)

    def member(self, group: str, rebalance: Rebalance) -> Member:
        return PythonMember(self._address.topic, {**self._reading(), "group_id": group}, rebalance)

    def _reading(self) -> dict[str, Any]:
        return {
            **self._settings("connection", "consumer"),
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",  # only where retention has deleted what was to be read next
        }

    def _settings(self, *roles: Any) -> dict[str, Any]:
        milliseconds = int(self._options.connect_timeout_seconds * 1000)
        settings: dict[str, Any] = {"bootstrap_servers": self._address.servers.split(","), "bootstrap_timeout_ms": milliseconds}
        settings["reconnect_backoff_max_ms"] = 1_000
        return {**settings, "metrics_enabled": False, **self._options.of(*roles)}


def made(kind: Any, settings: Mapping[str, Any]) -> Any:
    """A connected object of the client; of the connection's options it gets those that it has."""
    try:
        return kind(**{name: value for name, value in settings.items() if name in kind.DEFAULT_CONFIG})
    except (errors.KafkaError, ValueError, TypeError, AssertionError, OSError) as error:
        fail(error)


class PythonSender(Sender):
    """Writes."""

    def __init__(self, topic: str, settings: dict[str, Any]) -> None:
        self._topic = topic
        self._producer = made(KafkaProducer, settings)

    def send(self, message: Message, confirmed: Confirmed) -> None:
        try:
            future = self._producer.send(
                self._topic,
                value=message.value,
                key=message.key,
                headers=header_list(message) if message.headers else None,
                partition=message.partition if message.partition >= 0 else None,
                timestamp_ms=int(message.timestamp * 1000),
            )
        except (errors.KafkaError, ValueError, AssertionError) as error:
            fail(error)
        future.add_callback(lambda place: confirmed(None, place.partition, place.offset))
        future.add_errback(lambda error: confirmed(unconfirmed(error), -1, -1))

    def close(self, timeout_seconds: float) -> None:
        try:
            self._producer.close(timeout=timeout_seconds)
        except errors.KafkaError as error:
            fail(error)


def unconfirmed(error: Exception) -> KafkaFault:
    """The fault of a message that was handed over."""
    fault = fault_of(error)
    return KafkaFault("unconfirmed", fault.detail) if fault.kind == "unreachable" else fault


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Hands the news over and waits, on the client's own loop: it keeps up the heartbeats, and takes commits, meanwhile."""

    def __init__(self, rebalance: Rebalance) -> None:
        self._rebalance = rebalance
        self.consumer: RawConsumer = None

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await _until(self._rebalance.revoked([place.partition for place in revoked]))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        topics = {place.partition: place for place in assigned}
        starts = await _until(self._rebalance.assigned(list(topics)))
        for partition, offset in starts.items():
            self.consumer.seek(topics[partition], offset)
        self.consumer.pause(*(place for partition, place in topics.items() if partition not in starts))

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        await _until(self._rebalance.lost([place.partition for place in lost]))


async def _until(future: Future[T]) -> T:
    """Wait for another thread; the client's loop has no other way to be woken from outside."""
    while not future.done():
        await KernelEvent("_sleep", LISTEN_SECONDS)
    return future.result()


class PythonMember(Member):
    """Reads in a group. The client's own thread does the network and the heartbeats."""

    def __init__(self, topic: str, settings: dict[str, Any], rebalance: Rebalance) -> None:
        self._topic = topic
        self._consumer = made(RawConsumer, settings)
        listener = _Listener(rebalance)
        listener.consumer = self._consumer
        self._consumer.subscribe([topic], listener=listener)

    def poll(self, timeout_seconds: float) -> dict[int, list[Message]]:
        try:
            found = self._consumer.poll(timeout_ms=int(timeout_seconds * 1000), max_records=MOST_MESSAGES)
        except errors.KafkaError as error:
            fail(error)
        return {place.partition: messages_of(records) for place, records in found.items()}

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
        stored = {
            TopicPartition(self._topic, p): OffsetAndMetadata(offset, metadata, -1)
            for p, (offset, metadata) in offsets.items()
        }
        try:
            self._consumer.commit(stored)
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

    def close(self) -> None:
        try:
            self._consumer.close(autocommit=False)
        except errors.KafkaError as error:
            fail(error)


class PythonCluster(Cluster):
    """Asks the brokers."""

    def __init__(
        self, topic: str, options: KafkaOptions, settings: dict[str, Any], reading: Callable[[], dict[str, Any]]
    ) -> None:
        self._topic = topic
        self._milliseconds = int(options.connect_timeout_seconds * 1000)
        self._reading = reading
        self._reader: RawConsumer = None
        self._next: tuple[int, int] | None = None
        self._admin = made(KafkaAdminClient, settings)

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    def partitions(self) -> int:
        try:
            if self._topic not in self._admin.list_topics():
                return 0
            (topic,) = self._admin.describe_topics([self._topic])
        except errors.KafkaError as error:
            fail(error)
        return len(topic["partitions"])

    def create(self, partitions: int, replication_factor: int, configs: Mapping[str, str]) -> None:
        topic = {"num_partitions": partitions, "replication_factor": replication_factor, "configs": dict(configs)}
        try:
            self._admin.create_topics({self._topic: topic}, timeout_ms=self._milliseconds)
            self._admin.wait_for_topics([self._topic], timeout_ms=self._milliseconds)
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

    def read(self, partition: int, offset: int, max_messages: int) -> list[Message]:
        reader, place = self._reads(), self._place(partition)
        try:
            if self._next != (partition, offset):
                reader.assign([place])
                reader.seek(place, offset)
            found = reader.poll(timeout_ms=int(READ_SECONDS * 1000), max_records=max_messages)
        except errors.KafkaError as error:
            self._next = None
            fail(error)
        messages = messages_of(found.get(place, []))
        self._next = (partition, messages[-1].offset + 1) if messages else None
        return messages

    def committed(self, group: str) -> Offsets:
        try:
            found = self._admin.list_group_offsets(group)[group]
        except errors.KafkaError as error:
            fail(error)
        return {
            place.partition: (stored.offset, stored.metadata or "")
            for place, stored in found.items()
            if place.topic == self._topic and stored.offset >= 0
        }

    def commit(self, group: str, offsets: Mapping[int, tuple[int, str]]) -> None:
        stored = {self._place(p): OffsetAndMetadata(offset, metadata, -1) for p, (offset, metadata) in offsets.items()}
        try:
            answers = self._admin.alter_group_offsets(group, stored)
        except errors.KafkaError as error:
            fail(error)
        for answer in answers.values():
            if answer is not errors.NoError:
                fault = fault_of(answer())
                raise KafkaFault("members", fault.detail) if fault.kind == "moved" else fault

    def groups(self) -> list[str]:
        try:
            return [group["group_id"] for group in self._admin.list_groups()]
        except errors.KafkaError as error:
            fail(error)

    def trim(self, before: Mapping[int, int]) -> None:
        try:
            self._admin.delete_records({self._place(p): offset for p, offset in before.items()}, self._milliseconds)
        except errors.KafkaError as error:
            fail(error)

    def close(self) -> None:
        try:
            if self._reader is not None:
                self._reader.close(autocommit=False)
            self._admin.close()
        except errors.KafkaError as error:
            fail(error)


def messages_of(records: Iterable[ConsumerRecord]) -> list[Message]:
    """Messages of the client as Millrace's."""
    return [
        Message(
            record.value or b"", record.key, header_dict(record.headers) if record.headers else {},
            record.partition, record.offset, record.timestamp / 1000,
        )
        for record in records
    ]  # fmt: skip
