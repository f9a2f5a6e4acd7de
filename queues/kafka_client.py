"""What the queue asks of a Kafka client. Blocking, called from threads; one file implements it for each client.

Every method raises :class:`~.kafka_errors.KafkaFault` and nothing else of the client's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from .kafka_errors import KafkaFault
from .message import Message

Confirmed = Callable[[KafkaFault | None, int, int], None]
"""Called with (fault, partition, offset) from a thread of the client; the numbers are -1 when there is a fault."""
Bounds = dict[int, tuple[int, int]]
"""The first offset of each partition, and the offset of its next message."""
Records = dict[int, list[Any]]
"""Records of a client by partition."""
Offsets = dict[int, tuple[int, str]]
"""Committed offsets and their metadata by partition."""


class Rebalance(ABC):
    """What the client tells when partitions come and go. From any thread; the futures end when the client may go on."""

    @abstractmethod
    def assigned(self, partitions: Iterable[int]) -> Future[dict[int, int]]:
        """Partitions are this member's; the offsets say where to begin."""

    @abstractmethod
    def revoked(self, partitions: Iterable[int]) -> Future[None]:
        """Partitions are to go; commits are still taken."""

    @abstractmethod
    def wanted(self) -> None:
        """Another thread waits for something that only the polling one may do: let it call `attend`."""

    @abstractmethod
    def lost(self, partitions: Iterable[int]) -> Future[None]:
        """Partitions have gone already."""


class Member(ABC):
    """A member of a group.

    `commit`, `committed` and `membership` are called by any thread, all others by the one that polls.
    """

    @abstractmethod
    def poll(self, timeout_seconds: float) -> Records:
        """The next records by partition, as the client has them."""

    @abstractmethod
    def size(self, records: Sequence[Any]) -> int:
        """How many bytes their values have."""

    @abstractmethod
    def messages(self, records: Iterable[Any]) -> list[Message]:
        """Records as messages. Called where they are handed out, by any thread: each is made and used in one place."""

    @abstractmethod
    def attend(self) -> None:
        """Do what other threads wait for, without polling."""

    @abstractmethod
    def pause(self, partitions: Iterable[int]) -> None:
        """Fetch no more of these; partitions that are not assigned are left out."""

    @abstractmethod
    def resume(self, partitions: Iterable[int]) -> None:
        """Fetch these again."""

    @abstractmethod
    def seek(self, partition: int, offset: int) -> None:
        """Go on at this offset."""

    @abstractmethod
    def commit(self, offsets: Offsets) -> None:
        """Commit and wait for the confirmation."""

    @abstractmethod
    def committed(self, partitions: Iterable[int]) -> Offsets:
        """What the group has committed; partitions without are left out."""

    @abstractmethod
    def membership(self) -> Any:
        """Who this member is now, for :meth:`Transactor.commit`."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group."""


class Sender(ABC):
    """Writes messages: idempotent, confirmed by all replicas."""

    @abstractmethod
    def send(self, message: Message, confirmed: Confirmed) -> None:
        """Hand a message over, in order; called by one thread."""

    @abstractmethod
    def close(self, timeout_seconds: float) -> None:
        """Wait for what is under way, and end."""


class Transactor(ABC):
    """Writes messages and commits offsets together or not at all. Called by one thread, one transaction at a time.

    After a fault of any method but `close`, what can still be done is `abort` or `close`.
    """

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction."""

    @abstractmethod
    def send(self, topic: str, message: Message) -> None:
        """Hand a message over, in order."""

    @abstractmethod
    def commit(self, offsets: Offsets, membership: Any) -> None:
        """End it: all messages and the offsets of a member of a group count from now on."""

    @abstractmethod
    def abort(self) -> None:
        """End it: nothing of it ever counts."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connections."""


class Cluster(ABC):
    """What is asked outside groups. Called by one thread."""

    @abstractmethod
    def partitions(self) -> int:
        """How many partitions the topic has; 0 if it does not exist."""

    @abstractmethod
    def topics(self) -> list[str]:
        """The topics of the cluster, without its own."""

    @abstractmethod
    def create(self, partitions: int, replication_factor: int, configs: Mapping[str, str]) -> None:
        """Make the topic; -1 is the cluster's default. That it exists already is no fault."""

    @abstractmethod
    def bounds(self, partitions: Iterable[int]) -> Bounds:
        """Where partitions begin and end now."""

    @abstractmethod
    def offset_at(self, partition: int, timestamp_ms: int) -> int | None:
        """The first offset whose message is not older; ``None`` if none is."""

    @abstractmethod
    def read(self, partition: int, offset: int, end: int, max_messages: int) -> list[Message]:
        """Messages from an offset on, which are some before `end`; waits until there are some, or its time is over.

        There are none where only marks of transactions are left.
        """

    @abstractmethod
    def committed(self, group: str) -> Offsets:
        """How far a group is."""

    @abstractmethod
    def commit(self, group: str, offsets: Mapping[int, tuple[int, str]]) -> None:
        """Set how far a group without members is."""

    @abstractmethod
    def groups(self) -> list[str]:
        """All groups of the cluster."""

    @abstractmethod
    def members(self, group: str) -> list[str]:
        """The members of a group; none of one that does not exist."""

    @abstractmethod
    def trim(self, before: Mapping[int, int]) -> None:
        """Delete the messages before these offsets."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connections."""


class Client(ABC):
    """Makes the parts. Each of them connects by itself."""

    @abstractmethod
    def cluster(self) -> Cluster:
        """For questions."""

    @abstractmethod
    def sender(self) -> Sender:
        """For writing."""

    @abstractmethod
    def transactor(self, name: str) -> Transactor:
        """For writing in transactions. One that still goes on under this name is ended."""

    @abstractmethod
    def member(self, group: str, rebalance: Rebalance) -> Member:
        """For reading in a group."""


def header_list(message: Message) -> list[tuple[str, str | bytes | None]]:
    """Headers as Kafka has them."""
    return [(name, value.encode()) for name, value in message.headers.items()]


def header_dict(headers: Iterable[tuple[str, bytes | None]] | None) -> dict[str, str]:
    """Headers as Millrace has them: text, the last of each name.

    >>> header_dict([("a", b"1"), ("b", None), ("a", b"2")])
    {'a': '2', 'b': ''}
    """
    return {name: (value or b"").decode(errors="backslashreplace") for name, value in headers} if headers else {}
