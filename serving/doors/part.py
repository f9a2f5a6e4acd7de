"""One partition of a door that commits in transactions: what waits there, and what is done and not committed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...queues.base import Commit
from ...queues.message import Message
from ..engine.event import Event
from .outbox import Outbox
from .watermark import Watermark

MOST_BYTES = 16_777_216


@dataclass(slots=True, eq=False)
class Entry:
    """A message that is done.

    :param outbox: what it wrote
    :param commit: how far its partition is with it
    :ivar is_refused: the brokers did not take what it wrote, and this is its dead letter
    """

    message: Message
    outbox: Outbox
    commit: Commit
    is_refused: bool = False


@dataclass(slots=True, eq=False)
class Part:
    """One partition. One that was revoked begins no message any more.

    :ivar waiting: messages that have not begun
    :ivar done: those that are done and not committed, in order
    :ivar size: bytes that they wrote
    :ivar running: the event of the one that runs
    :ivar lane: the task that runs them, one after the other
    :ivar gone: set when it was revoked
    """

    partition: int
    marks: Watermark
    waiting: deque[Message] = field(default_factory=deque)
    done: deque[Entry] = field(default_factory=deque)
    size: int = 0
    running: Event | None = None
    lane: asyncio.Task[None] | None = None
    is_paused: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_revoked(self) -> bool:
        """Whether it goes to another reader."""
        return self.gone.is_set()

    @property
    def in_flight(self) -> int:
        """How many messages were taken and are not committed."""
        return len(self.waiting) + (self.lane is not None) + len(self.done)

    def revoke(self) -> None:
        """Begin nothing any more; what waits is left to whoever gets the partition."""
        self.gone.set()
        self._room.set()
        self.waiting.clear()

    def finish(self, message: Message, outbox: Outbox) -> None:
        """A message is done: run, dead-lettered or skipped."""
        outbox.is_sealed = True
        self.marks.finish(message.offset)
        self.done.append(Entry(message, outbox, self.marks.commit))
        self.size += outbox.size

    def committed(self, entries: Sequence[Entry]) -> None:
        """The first ones that are done are committed."""
        for entry in entries:
            self.done.popleft()
            self.size -= entry.outbox.size
            entry.outbox.written()
        self._room.set()

    async def until_room(self) -> None:
        """Wait while what was written and not committed fills 16 MB."""
        while self.size >= MOST_BYTES and not self.is_revoked:
            self._room.clear()
            await self._room.wait()
