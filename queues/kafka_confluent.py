"""Kafka through confluent-kafka (librdkafka). The only file that imports it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from confluent_kafka import (
    OFFSET_INVALID,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import Consumer as RawConsumer
from confluent_kafka import Message as RawMessage
from confluent_kafka import Producer as RawProducer
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]

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
from .kafka_errands import Errands
from .kafka_errors import KafkaFault, Kind
from .kafka_options import CLIENT, KafkaOptions
from .message import Message

log = logging.getLogger(__name__)
T = TypeVar("T")
MOST_MESSAGES = 500
READ_SECONDS = 5.0
ERRAND_SECONDS = 0.02
LOGIN_SECONDS = 1.0
COMMITTED_SECONDS = 30.0
KINDS: dict[int, Kind] = {
    KafkaError._ALL_BROKERS_DOWN: "unreachable",
    KafkaError._TRANSPORT: "unreachable",
    KafkaError._TIMED_OUT: "unreachable",
    KafkaError._RESOLVE: "unreachable",
    KafkaError._SSL: "unreachable",
    KafkaError._MSG_TIMED_OUT: "unconfirmed",
    KafkaError._PURGE_QUEUE: "unconfirmed",
    KafkaError._PURGE_INFLIGHT: "unconfirmed",
    KafkaError._AUTHENTICATION: "login",
    KafkaError.SASL_AUTHENTICATION_FAILED: "login",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "forbidden",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "forbidden",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "forbidden",
    KafkaError._UNKNOWN_TOPIC: "missing",
    KafkaError._UNKNOWN_PARTITION: "missing",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "missing",
    KafkaError.MSG_SIZE_TOO_LARGE: "too_large",
    KafkaError.RECORD_LIST_TOO_LARGE: "too_large",
    KafkaError._QUEUE_FULL: "full",
    KafkaError.ILLEGAL_GENERATION: "moved",
    KafkaError.UNKNOWN_MEMBER_ID: "moved",
    KafkaError.REBALANCE_IN_PROGRESS: "moved",
    KafkaError.FENCED_INSTANCE_ID: "moved",
    KafkaError._STATE: "moved",
    KafkaError.NON_EMPTY_GROUP: "members",
    KafkaError._INVALID_ARG: "option",
}


def fault_of(error: KafkaError) -> KafkaFault:
    """What an error of librdkafka means."""
    return KafkaFault(KINDS.get(error.code(), "other"), f"{error.name()}: {error.str()}")


def fail(error: KafkaException) -> NoReturn:
    """Raise an error of the client as a fault."""
    raise fault_of(error.args[0]) from error


class ConfluentClient(Client):
    """Makes the parts on librdkafka.

    :raises KafkaFault: an option has no meaning for librdkafka, or a value that it refuses
    """

    def __init__(self, address: KafkaAddress, options: KafkaOptions) -> None:
        self._address, self._options = address, options

    def cluster(self) -> Cluster:
        return ConfluentCluster(self._address.topic, self._options, self._settings("connection"), self._reading)

    def sender(self) -> Sender:
        settings = {
            **self._settings("connection", "producer"),
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",  # as kafka-python and the Java client
            "queue.buffering.max.messages": 10_000_000,  # Millrace bounds what waits
            "queue.buffering.max.kbytes": 2_097_151,
        }
        return ConfluentSender(self._address.topic, settings)

    def member(self, group: str, rebalance: Rebalance) -> Member:
        return ConfluentMember(self._address.topic, {**self._reading(), "group.id": group}, rebalance)

    def _reading(self) -> dict[str, Any]:
        return {
            **self._settings("connection", "consumer"),
            "group.id": "millrace-reader",  # librdkafka asks for one even where nothing is committed
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",  # only where retention has deleted what was to be read next
            "partition.assignment.strategy": "range,roundrobin",
            "queued.min.messages": 20_000,
            "fetch.queue.backoff.ms": 5,  # the default, a second, makes a fast reader wait
        }

    def _settings(self, *roles: Any) -> dict[str, Any]:
        """The user's options in librdkafka's names."""
        settings: dict[str, Any] = {"bootstrap.servers": self._address.servers}
        for name, value in self._options.of(*roles).items():
            dotted = CLIENT[name].confluent
            if dotted is None:
                raise KafkaFault(
                    "option", f"confluent-kafka has no '{name}': leave it out, or set client='kafka-python'"
                )
            if name == "ssl_check_hostname":
                value = "https" if value else "none"
            settings[dotted] = value
        if "reconnect.backoff.max.ms" not in settings:
            settings["reconnect.backoff.max.ms"] = 1_000
        return settings


class _Watched:
    """What librdkafka tells outside calls: errors, and a log that repeats itself while nothing answers.

    :ivar login: a refused login
    :ivar reason: why the last connection failed
    """

    def __init__(self) -> None:
        self.login: KafkaFault | None = None
        self.reason = ""

    def made(self, kind: Callable[[dict[str, Any]], T], settings: dict[str, Any]) -> T:
        """A part of the client that is watched."""
        try:
            return kind({**settings, "error_cb": self.told, "logger": self})
        except KafkaException as error:
            fail(error)
        except (ValueError, TypeError) as error:
            raise KafkaFault("option", str(error)) from error

    def told(self, error: KafkaError) -> None:
        """An error that belongs to no call."""
        fault = fault_of(error)
        if fault.kind == "login":
            self.login = fault
        log.info("the Kafka client says: %s", fault)

    def log(self, level: int, text: str, *arguments: object) -> None:
        """A line of the client's log."""
        line = text % arguments if arguments else text
        if line != self.reason:
            log.debug("the Kafka client says: %s", line)
        if line.startswith("FAIL"):
            self.reason = line.rpartition("]: ")[2]

    def fail(self, error: KafkaException) -> NoReturn:
        """Raise an error as a fault, with what is known of its cause."""
        if self.login is not None:
            login, self.login = self.login, None
            raise login from error
        fault = fault_of(error.args[0])
        raise (KafkaFault(fault.kind, self.reason or fault.detail) if fault.kind == "unreachable" else fault) from error


class ConfluentSender(Sender):
    """Writes; a thread of its own takes the confirmations."""

    def __init__(self, topic: str, settings: dict[str, Any]) -> None:
        self._topic = topic
        self._watched = _Watched()
        self._producer = self._watched.made(RawProducer, settings)
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name="kafka-confirm", daemon=True)
        self._thread.start()

    def send(self, message: Message, confirmed: Confirmed) -> None:
        def delivered(error: KafkaError | None, raw: RawMessage) -> None:
            if error is None:
                confirmed(None, raw.partition() or 0, raw.offset() or 0)
            else:
                confirmed(self._watched.login or fault_of(error), -1, -1)

        try:
            self._producer.produce(
                self._topic,
                message.value,
                key=message.key,
                partition=message.partition,
                on_delivery=delivered,
                timestamp=int(message.timestamp * 1000),
                headers=header_list(message) if message.headers else None,
            )
        except BufferError as error:
            raise KafkaFault("full", str(error)) from error
        except KafkaException as error:
            fail(error)

    def _serve(self) -> None:
        while not self._is_closed:
            self._producer.poll(0.1)
            if self._watched.login is not None and len(self._producer):
                self._producer.purge()  # they would wait for their time to be over

    def close(self, timeout_seconds: float) -> None:
        left = self._producer.flush(timeout_seconds)
        if left:
            self._producer.purge()
            self._producer.flush(1.0)
        self._is_closed = True
        self._thread.join(1.0)


class ConfluentMember(Member):
    """Reads in a group. The callbacks run inside :meth:`poll`, and wait for the loop.

    A call from another thread can hang while a callback runs, so the polling thread makes all calls, between its polls
    and inside the callbacks; another thread that commits waits for it.
    """

    def __init__(self, topic: str, settings: dict[str, Any], rebalance: Rebalance) -> None:
        self._topic = topic
        self._rebalance = rebalance
        self._watched = _Watched()
        self._errands = Errands()
        self._consumer = self._watched.made(RawConsumer, settings)
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def _assigned(self, consumer: RawConsumer, partitions: list[TopicPartition]) -> None:
        starts = self._errands.do_until(self._rebalance.assigned([p.partition for p in partitions]))
        consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in starts.items()])

    def _revoked(self, consumer: RawConsumer, partitions: list[TopicPartition]) -> None:
        self._errands.do_until(self._rebalance.revoked([p.partition for p in partitions]))

    def _lost(self, consumer: RawConsumer, partitions: list[TopicPartition]) -> None:
        self._errands.do_until(self._rebalance.lost([p.partition for p in partitions]))

    def poll(self, timeout_seconds: float) -> dict[int, list[Message]]:
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
            places = self._errands.ask(lambda: self._consumer.commit(offsets=stored, asynchronous=False))
        except KafkaException as error:
            fail(error)
        for place in places:
            if place.error is not None:
                raise fault_of(place.error)

    def committed(self, partitions: Iterable[int]) -> Offsets:
        wanted = [TopicPartition(self._topic, p) for p in partitions]
        try:
            return offsets_of(self._errands.ask(lambda: self._consumer.committed(wanted, COMMITTED_SECONDS)))
        except KafkaException as error:
            fail(error)

    def close(self) -> None:
        try:
            self._errands.do()
            self._consumer.close()
        finally:
            self._errands.close()


class ConfluentCluster(Cluster):
    """Asks the brokers."""

    def __init__(
        self, topic: str, options: KafkaOptions, settings: dict[str, Any], reading: Callable[[], dict[str, Any]]
    ) -> None:
        self.topic = topic
        self._seconds = options.connect_timeout_seconds
        self._watched = _Watched()
        self._reading = reading
        self._reader: RawConsumer | None = None
        self._next: tuple[int, int] | None = None
        self._admin = self._watched.made(AdminClient, settings)

    def _answer(self, futures: Mapping[Any, Any]) -> list[Any]:
        """The answers to a request of several parts."""
        try:
            return [future.result(self._seconds) for future in futures.values()]
        except KafkaException as error:
            fail(error)
        except TimeoutError as error:
            raise KafkaFault("unreachable", "no answer in time") from error

    def partitions(self) -> int:
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                topics = self._admin.list_topics(timeout=LOGIN_SECONDS).topics  # asking for one topic would make it
                return len(topics[self.topic].partitions) if self.topic in topics else 0
            except KafkaException as error:
                self._admin.poll(0)  # takes the news
                if self._watched.login is not None or time.monotonic() > deadline:
                    self._watched.fail(error)

    def create(self, partitions: int, replication_factor: int, configs: Mapping[str, str]) -> None:
        topic = NewTopic(self.topic, partitions, replication_factor, config=dict(configs))
        future = self._admin.create_topics([topic])[self.topic]
        try:
            future.result(self._seconds)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                fail(error)

    def bounds(self, partitions: Iterable[int]) -> Bounds:
        wanted = [TopicPartition(self.topic, p) for p in partitions]
        begins = self._offsets(wanted, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        ends = self._offsets(wanted, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {partition: (begin, ends[partition]) for partition, begin in begins.items()}

    def _offsets(self, places: Iterable[TopicPartition], spec: OffsetSpec) -> dict[int, int]:
        futures = self._admin.list_offsets(dict.fromkeys(places, spec), request_timeout=self._seconds)
        answers = self._answer(futures)
        return {place.partition: answer.offset for place, answer in zip(futures, answers, strict=True)}

    def offset_at(self, partition: int, timestamp_ms: int) -> int | None:
        place = TopicPartition(self.topic, partition)
        offset = self._offsets([place], OffsetSpec.for_timestamp(timestamp_ms))[partition]
        return offset if offset >= 0 else None

    def read(self, partition: int, offset: int, max_messages: int) -> list[Message]:
        try:
            reader = self._reader = self._reader or self._watched.made(RawConsumer, self._reading())
            if self._next != (partition, offset):
                reader.assign([TopicPartition(self.topic, partition, offset)])
            first = reader.poll(READ_SECONDS)
            found = [] if first is None else [first, *reader.consume(max_messages - 1, 0)]
            messages = by_partition(found).get(partition, [])
        except KafkaException as error:
            self._next = None
            fail(error)
        self._next = (partition, messages[-1].offset + 1) if messages else None
        return messages

    def committed(self, group: str) -> Offsets:
        futures = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
        (answer,) = self._answer(futures)
        return offsets_of([place for place in answer.topic_partitions if place.topic == self.topic])

    def commit(self, group: str, offsets: Mapping[int, tuple[int, str]]) -> None:
        stored = places_of(self.topic, offsets)
        futures = self._admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, stored)])
        (answer,) = self._answer(futures)
        for place in answer.topic_partitions:
            if place.error is not None:
                fault = fault_of(place.error)
                raise KafkaFault("members", fault.detail) if fault.kind == "moved" else fault

    def groups(self) -> list[str]:
        try:
            return [group.group_id for group in self._admin.list_consumer_groups().result(self._seconds).valid]
        except KafkaException as error:
            fail(error)

    def trim(self, before: Mapping[int, int]) -> None:
        places = [TopicPartition(self.topic, partition, offset) for partition, offset in before.items()]
        self._answer(self._admin.delete_records(places))

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


def by_partition(found: Iterable[Any]) -> dict[int, list[Message]]:
    """Messages of the client as Millrace's.

    :raises KafkaFault: all that was found is an error
    """
    batches: dict[int, list[Message]] = {}
    last = -1
    batch: list[Message] = []
    for raw in found:
        error = raw.error()
        if error is not None:
            tell_of(error)
            continue
        partition = raw.partition()
        if partition != last:
            batch = batches.setdefault(partition, [])
            last = partition
        headers = raw.headers()
        batch.append(
            Message(
                raw.value() or b"", raw.key(), header_dict(headers) if headers else {},
                partition, raw.offset(), raw.timestamp()[1] / 1000,
            )
        )  # fmt: skip
    return batches


def tell_of(error: KafkaError) -> None:
    """An error between messages: the client goes on by itself after most."""
    fault = fault_of(error)
    if fault.kind in ("forbidden", "login", "missing") or error.fatal():
        raise fault
    log.warning("the Kafka client says: %s", fault)


def places_of(topic: str, offsets: Mapping[int, tuple[int, str]]) -> list[TopicPartition]:
    """Offsets to commit, for the client."""
    return [TopicPartition(topic, p, offset, metadata=metadata) for p, (offset, metadata) in offsets.items()]


def offsets_of(places: Iterable[TopicPartition]) -> Offsets:
    """Committed offsets."""
    return {p.partition: (p.offset, p.metadata or "") for p in places if p.offset not in (OFFSET_INVALID, -1)}
