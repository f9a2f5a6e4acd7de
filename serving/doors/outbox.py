"""What one message writes, kept until the transaction in which it counts."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from ...queues.base import Queue
from ...queues.message import Message


class Counting(Protocol):
    """Who counts the messages that were written."""

    appended: int


@dataclass(slots=True, eq=False)
class Outbox:
    """What queue steps, and the dead letter, of one message wrote.

    :ivar size: bytes of the values in it
    :ivar is_sealed: the message is done, so that nothing may come any more
    """

    writes: list[tuple[Queue, Message]] = field(default_factory=list)
    size: int = 0
    is_sealed: bool = False
    _counters: list[Counting] = field(default_factory=list)

    def put(self, queue: Queue, message: Message, counter: Counting | None = None) -> None:
        """Keep a message for a queue.

        :param counter: counts it once it is written
        :raises RuntimeError: the message that wrote it is done already
        """
        if self.is_sealed:
            raise RuntimeError(f"{queue.url}: what a message writes after it is done can not be in its transaction")
        self.writes.append((queue, message))
        self.size += len(message.value)
        if counter is not None:
            self._counters.append(counter)

    def clear(self) -> None:
        """Forget all: what wrote it has failed."""
        self.writes.clear()
        self._counters.clear()
        self.size = 0

    def written(self) -> None:
        """It counts now."""
        for counter in self._counters:
            counter.appended += 1


OUTBOX: ContextVar[Outbox | None] = ContextVar("millrace_outbox", default=None)
"""The outbox of the message that is being handled; its steps run in tasks of their own, which inherit it."""


class Letters:
    """A queue of dead letters that are kept in the outbox of their message."""

    def __init__(self, queue: Queue) -> None:
        self.url = queue.url
        self._queue = queue

    async def append(self, messages: Sequence[Message]) -> None:
        """Keep them.

        :raises RuntimeError: no message is being handled
        """
        outbox = OUTBOX.get()
        if outbox is None:
            raise RuntimeError(f"{self.url}: a dead letter is written where no message is handled")
        for message in messages:
            outbox.put(self._queue, message)
