"""Messages that are appended in one call, sorted by partition and encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .base import partition_of
from .log_layout import encode
from .message import Message


@dataclass(slots=True)
class Batch:
    """What goes to one partition.

    :param places: of the messages in the call
    :param size: of the records together, in bytes
    :param latest: the latest timestamp
    """

    records: list[bytes] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    size: int = 0
    latest: float = float("-inf")


def divide(messages: Sequence[Message], partitions: int, *, turn: int) -> dict[int, Batch]:
    """A batch for each partition: the one that a message names, that of its key, or the next in turn.

    >>> batches = divide([Message(b"a"), Message(b"b"), Message(b"c", partition=0)], 2, turn=0)
    >>> {partition: batch.places for partition, batch in batches.items()}
    {0: [0, 2], 1: [1]}

    :raises ValueError: a message names a partition that does not exist
    """
    batches: dict[int, Batch] = {}
    for place, message in enumerate(messages):
        partition = message.partition
        if partition < 0:
            partition = (turn + place) % partitions if message.key is None else partition_of(message.key, partitions)
        elif partition >= partitions:
            raise ValueError(f"the topic has the partitions 0 to {partitions - 1}, and a message is for {partition}")
        batch = batches.get(partition)
        if batch is None:
            batch = batches[partition] = Batch()
        record = encode(message)
        batch.records.append(record)
        batch.places.append(place)
        batch.size += len(record)
        if message.timestamp > batch.latest:
            batch.latest = message.timestamp
    return batches


def placed(messages: Sequence[Message], batches: Mapping[int, Batch], first: Mapping[int, int]) -> list[Message]:
    """The messages of a call with partition and offset.

    :param first: the offset of the first record of each batch
    """
    answers = list(messages)
    for partition, batch in batches.items():
        for offset, place in enumerate(batch.places, first[partition]):
            given = messages[place]
            answers[place] = Message(given.value, given.key, given.headers, partition, offset, given.timestamp)
    return answers
