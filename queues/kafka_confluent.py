"""confluent-kafka (librdkafka): the only file that imports it; what its names, errors and messages mean here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NoReturn, TypeVar

from confluent_kafka import (
    OFFSET_INVALID,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import Consumer as RawConsumer
from confluent_kafka import Message as RawMessage
from confluent_kafka import Producer as RawProducer
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]

from .kafka_client import Offsets, header_dict
from .kafka_errors import KafkaFault, Kind
from .message import Message

__all__ = [
    "AdminClient", "ConsumerGroupTopicPartitions", "IsolationLevel", "KafkaError", "KafkaException", "NewTopic",
    "OffsetSpec", "RawConsumer", "RawMessage", "RawProducer", "TopicPartition", "Watched", "by_partition",
    "checked", "fail", "fault_of", "messages_of", "offsets_of", "passes", "places_of",
]  # fmt: skip
log = logging.getLogger(__name__)
T = TypeVar("T")
KINDS: dict[int, Kind] = {
    KafkaError._ALL_BROKERS_DOWN: "unreachable",
    KafkaError._TRANSPORT: "unreachable",
    KafkaError._TIMED_OUT: "unreachable",
    KafkaError._RESOLVE: "unreachable",
    KafkaError._SSL: "unreachable",
    KafkaError._WAIT_COORD: "unreachable",
    KafkaError.COORDINATOR_NOT_AVAILABLE: "unreachable",
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS: "unreachable",
    KafkaError.NOT_COORDINATOR: "unreachable",
    KafkaError.NOT_LEADER_FOR_PARTITION: "unreachable",
    KafkaError.LEADER_NOT_AVAILABLE: "unreachable",
    KafkaError.UNKNOWN_LEADER_EPOCH: "unreachable",
    KafkaError.FENCED_LEADER_EPOCH: "unreachable",
    KafkaError.OFFSET_NOT_AVAILABLE: "unreachable",
    KafkaError.NETWORK_EXCEPTION: "unreachable",
    KafkaError.REQUEST_TIMED_OUT: "unreachable",
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
    KafkaError._FENCED: "fenced",
    KafkaError.PRODUCER_FENCED: "fenced",
    KafkaError.INVALID_PRODUCER_EPOCH: "fenced",
    KafkaError.INVALID_PRODUCER_ID_MAPPING: "fenced",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "forbidden",
    KafkaError.NON_EMPTY_GROUP: "members",
    KafkaError.GROUP_ID_NOT_FOUND: "no_group",
    KafkaError.TOPIC_ALREADY_EXISTS: "exists",
    KafkaError._INVALID_ARG: "option",
}

# What passes by itself while a topic or a broker comes up.
PASSING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)


def passes(error: KafkaException) -> bool:
    """Whether to ask again soon."""
    return error.args[0].code() in PASSING


def fault_of(error: KafkaError) -> KafkaFault:
    """What an error of librdkafka means."""
    return KafkaFault(KINDS.get(error.code(), "other"), f"{error.name()}: {error.str()}")


def fail(error: KafkaException) -> NoReturn:
    """Raise an error of the client as a fault."""
    raise fault_of(error.args[0]) from error


class Watched:
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


def by_partition(found: Sequence[Any]) -> dict[int, list[Any]]:
    """Records by partition.

    :raises KafkaFault: nothing but an error was found that the client does not get over by itself
    """
    records = [raw for raw in found if raw.error() is None]
    if len(records) < len(found):
        faults = [told(raw.error()) for raw in found if raw.error() is not None]
        for fault in faults:
            if fault is not None and not records:
                raise fault
    batches: dict[int, list[Any]] = {}
    for partition, run in groupby(records, RawMessage.partition):
        batches.setdefault(partition or 0, []).extend(run)
    return batches


def messages_of(records: Iterable[Any]) -> list[Message]:
    """Records as messages. They are made without their constructor, which takes as long as all the rest."""
    messages = []
    new = Message.__new__
    for raw in records:
        message = new(Message)
        message.value = raw.value() or b""
        message.key = raw.key()
        headers = raw.headers()
        message.headers = header_dict(headers) if headers else {}
        message.partition = raw.partition()
        message.offset = raw.offset()
        message.timestamp = raw.timestamp()[1] / 1000
        messages.append(message)
    return messages


def told(error: KafkaError) -> KafkaFault | None:
    """An error between messages, if the client does not get over it by itself, as it does over most."""
    if error.code() == KafkaError._PARTITION_EOF:
        return None
    fault = fault_of(error)
    log.warning("the Kafka client says: %s", fault)
    return fault if fault.kind in ("forbidden", "login", "missing") or error.fatal() else None


def places_of(topic: str, offsets: Mapping[int, tuple[int, str]]) -> list[TopicPartition]:
    """Offsets to commit, for the client."""
    return [TopicPartition(topic, p, offset, metadata=metadata) for p, (offset, metadata) in offsets.items()]


def checked(places: Iterable[TopicPartition]) -> list[TopicPartition]:
    """The parts of an answer.

    :raises KafkaException: one of them is an error; where an offset is asked for, it would look as if there were none
    """
    found = list(places)
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
    return found


def offsets_of(places: Iterable[TopicPartition]) -> Offsets:
    """Committed offsets."""
    return {p.partition: (p.offset, p.metadata or "") for p in places if p.offset not in (OFFSET_INVALID, -1)}
