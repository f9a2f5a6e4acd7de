"""kafka-python: the only file that imports it; what its names, errors and messages mean here, and how it connects."""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition, errors
from kafka import KafkaConsumer as RawConsumer
from kafka.consumer.fetcher import ConsumerRecord
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.future import Future as KafkaFuture
from kafka.net.compat import KafkaNetClient
from kafka.net.selector import NetworkSelector
from kafka.structs import MemberState, OffsetAndMetadata

from .kafka_client import Offsets, header_dict
from .kafka_errors import KafkaFault, Kind
from .message import Message

__all__ = [
    "AsyncConsumerRebalanceListener", "Connections", "KafkaAdminClient", "KafkaFuture", "KafkaProducer", "MemberState",
    "NetworkSelector", "RawConsumer", "TopicPartition", "errors", "fail", "fault_of", "made", "messages_of",
    "places_of",
]  # fmt: skip
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
    errors.CoordinatorLoadInProgressError,
    errors.NotCoordinatorError,
)
KINDS: tuple[tuple[tuple[type[Exception], ...], Kind], ...] = (
    ((errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError), "login"),
    ((errors.AuthorizationError,), "forbidden"),
    ((errors.UnknownTopicOrPartitionError, errors.InvalidTopicError), "missing"),
    ((errors.MessageSizeTooLargeError, errors.RecordListTooLargeError), "too_large"),
    (MOVED, "moved"),
    ((errors.NonEmptyGroupError,), "members"),
    ((errors.GroupIdNotFoundError,), "no_group"),
    ((errors.TopicAlreadyExistsError,), "exists"),
    ((errors.ProducerFencedError, errors.InvalidProducerEpochError, errors.InvalidProducerIdMappingError), "fenced"),
    (UNREACHABLE, "unreachable"),
)


class _NoPasswords(logging.Filter):
    """Drops the lines of the client's log, at level DEBUG, that hold a login: as it is given, and as it is sent."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not any(sign in text for sign in ("SaslAuthenticateRequest", " Send: ", "with configuration"))


for _name in ("kafka.protocol.parser", "kafka.net.connection", "kafka.admin.client"):
    logging.getLogger(_name).addFilter(_NoPasswords())


def fault_of(error: Exception) -> KafkaFault:
    """What an error of kafka-python means."""
    detail = f"{type(error).__name__}: {error}".removesuffix(": ")
    return KafkaFault(next((kind for types, kind in KINDS if isinstance(error, types)), "other"), detail)


def fail(error: Exception) -> NoReturn:
    """Raise an error of the client as a fault."""
    raise fault_of(error) from error


class _Selector(selectors.DefaultSelector):
    """Closes the sockets that are left when it is closed: 3.0.12 leaves those with unsent data open."""

    def close(self) -> None:
        for key in list((self.get_map() or {}).values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        super().close()


class Connections:
    """The network of one of the client's objects, so that it can be closed when that object did not come to be."""

    def __init__(self) -> None:
        self.net: NetworkSelector = None
        self._client: KafkaNetClient = None

    def __call__(self, **settings: Any) -> KafkaNetClient:
        settings["selector"] = _Selector
        self.net = NetworkSelector(**settings)
        self._client = KafkaNetClient(net=self.net, **settings)
        return self._client

    def close(self) -> None:
        """Close connections and end the thread; 3.0.12 leaves both when it can not connect."""
        if self._client is not None:
            self._client.close()
        if self.net is not None:
            self.net.close()


def made(kind: Any, settings: Mapping[str, Any], connections: Connections | None = None) -> Any:
    """A connected object of the client; of the connection's options it gets those that it has."""
    connections = connections or Connections()
    known = {name: value for name, value in settings.items() if name in kind.DEFAULT_CONFIG}
    with _Overheard() as reasons:
        try:
            return kind(**known, kafka_client=connections)
        except errors.KafkaTimeoutError as error:
            connections.close()
            # A refused login is a closed connection here; only the log says so.
            is_login = "sasl_mechanism" in settings and reasons.is_refusal
            raise KafkaFault("login" if is_login else "unreachable", reasons.last or str(error)) from error
        except (errors.KafkaError, ValueError, TypeError, AssertionError, OSError) as error:
            connections.close()
            raise KafkaFault("option", fault_of(error).detail) from error


class _Overheard(logging.Handler):
    """Why the client can not connect: it tells that to its log only."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self.is_refusal = False

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("Bootstrap connection"):
            self.last = text.partition(" failed: ")[2].partition(" (backoff")[0]
            self.is_refusal |= "socket disconnected" in self.last or "Sasl" in self.last

    def __enter__(self) -> _Overheard:
        logging.getLogger("kafka.net.manager").addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("kafka.net.manager").removeHandler(self)


def messages_of(records: Iterable[ConsumerRecord]) -> list[Message]:
    """Messages of the client as Millrace's."""
    return [
        Message(
            record.value or b"", record.key, header_dict(record.headers) if record.headers else {},
            record.partition, record.offset, record.timestamp / 1000,
        )
        for record in records
    ]  # fmt: skip


def places_of(topic: str, offsets: Offsets) -> dict[TopicPartition, OffsetAndMetadata]:
    """Offsets to commit, for the client."""
    return {
        TopicPartition(topic, partition): OffsetAndMetadata(offset, metadata, -1)
        for partition, (offset, metadata) in offsets.items()
    }
