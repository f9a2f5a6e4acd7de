"""Kafka through kafka-python. The only file that imports it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, NoReturn, TypeVar

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition, errors
from kafka import KafkaConsumer as RawConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.future import Future as KafkaFuture
from kafka.net.compat import KafkaNetClient
from kafka.net.selector import NetworkSelector
from kafka.structs import MemberState, OffsetAndMetadata

from .kafka_address import KafkaAddress
from .kafka_client import (
    Bounds,
    Client,
    Cluster,
    Confirmed,
    Member,
    Offsets,
    Rebalance,
    Sender,
    header_dict,
    header_list,
)
from .kafka_errors import KafkaFault, Kind
from .kafka_options import KafkaOptions
from .message import Message

T = TypeVar("T")
MOST_MESSAGES = 500
READ_SECONDS = 5.0
JOIN_SPARE_SECONDS = 10.0
RETRY_SECONDS = 0.1
MOVED = (
    errors.CommitFailedError,
    errors.RebalanceInProgressError,
    errors.IllegalGenerationError,
    errors.UnknownMemberIdError,
    errors.FencedInstanceIdError,
)
UNREACHABLE = (
    errors.KafkaTimeoutError,
    errors.RequestTimedOutError,
    errors.NodeNotReadyError,
    errors.InvalidMetadataError,
    errors.CoordinatorNotAvailableError,
)
KINDS: tuple[tuple[tuple[type[Exception], ...], Kind], ...] = (
    ((errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError), "login"),
    ((errors.AuthorizationError,), "forbidden"),
    ((errors.UnknownTopicOrPartitionError, errors.InvalidTopicError), "missing"),
    ((errors.MessageSizeTooLargeError, errors.RecordListTooLargeError), "too_large"),
    (MOVED, "moved"),
    ((errors.NonEmptyGroupError,), "members"),
    (UNREACHABLE, "unreachable"),
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
        settings["request_timeout_ms"] = min(
            settings.get("request_timeout_ms", 30_000), settings["delivery_timeout_ms"]
        )
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
        return {
            "bootstrap_servers": self._address.servers.split(","),
            "bootstrap_timeout_ms": milliseconds,
            "reconnect_backoff_max_ms": 1_000,
            "metrics_enabled": False,
            **self._options.of(*roles),
        }


class _Connections:
    """The network of one of the client's objects, so that it can be closed when that object did not come to be."""

    def __init__(self) -> None:
        self.net: NetworkSelector = None
        self._client: KafkaNetClient = None

    def __call__(self, **settings: Any) -> KafkaNetClient:
        self.net = NetworkSelector(**settings)
        self._client = KafkaNetClient(net=self.net, **settings)
        return self._client

    def close(self) -> None:
        """Close connections and end the thread; 3.0.12 leaves both when it can not connect."""
        if self._client is not None:
            self._client.close()
        if self.net is not None:
            self.net.close()


def made(kind: Any, settings: Mapping[str, Any], connections: _Connections | None = None) -> Any:
    """A connected object of the client; of the connection's options it gets those that it has."""
    connections = connections or _Connections()
    known = {name: value for name, value in settings.items() if name in kind.DEFAULT_CONFIG}
    with _Overheard() as reasons:
        try:
            return kind(**known, kafka_client=connections)
        except errors.KafkaTimeoutError as error:
            connections.close()
            # A refused login is a closed connection here; only the log says so.
            is_refusal = "socket disconnected" in reasons.last or "Sasl" in reasons.last
            is_login = "sasl_mechanism" in settings and is_refusal
            raise KafkaFault("login" if is_login else "unreachable", reasons.last or str(error)) from error
        except (errors.KafkaError, ValueError, TypeError, AssertionError, OSError) as error:
            connections.close()
            raise KafkaFault("option", fault_of(error).detail) from error


class _Overheard(logging.Handler):
    """Why the client can not connect: it tells that to its log only."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("Bootstrap connection"):
            self.last = text.partition(" failed: ")[2].partition(" (backoff")[0]

    def __enter__(self) -> _Overheard:
        logging.getLogger("kafka.net.manager").addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("kafka.net.manager").removeHandler(self)


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
        connections = _Connections()
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

    def poll(self, timeout_seconds: float) -> dict[int, list[Message]]:
        try:
            found = self._consumer.poll(timeout_ms=int(timeout_seconds * 1000), max_records=MOST_MESSAGES)
            if not found:
                self._join_again_if_stuck()
        except errors.KafkaError as error:
            fail(error)
        return {place.partition: messages_of(records) for place, records in found.items()}

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
        found = self._retried(self._admin.list_group_offsets, group)[group]
        return {
            place.partition: (stored.offset, stored.metadata or "")
            for place, stored in found.items()
            if place.topic == self.topic and stored.offset >= 0
        }

    def commit(self, group: str, offsets: Mapping[int, tuple[int, str]]) -> None:
        stored = {self._place(p): OffsetAndMetadata(offset, metadata, -1) for p, (offset, metadata) in offsets.items()}
        self._retried(self._commit, group, stored)

    def _commit(self, group: str, stored: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        for answer in self._admin.alter_group_offsets(group, stored).values():
            fault = fault_of(answer())
            if fault.kind == "moved":
                raise KafkaFault("members", fault.detail)
            if answer is not errors.NoError:
                raise answer()

    def groups(self) -> list[str]:
        return [group["group_id"] for group in self._retried(self._admin.list_groups)]

    def trim(self, before: Mapping[int, int]) -> None:
        self._retried(self._admin.delete_records, {self._place(p): o for p, o in before.items()}, self._milliseconds)

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
