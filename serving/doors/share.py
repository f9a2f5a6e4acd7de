"""One partition of a stream door: what of it is done, and what waits its turn."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from ...queues.base import Commit
from ...queues.message import Message
from ..engine.event import Event
from .watermark import Watermark


@dataclass(slots=True, eq=False)
class Lane:
    """Messages that stay in order: one runs, the others wait."""

    waiting: deque[Message] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class Share:
    """One partition of this door. A share that was revoked begins no message any more.

    :ivar in_flight: messages taken and not done; those that wait in lanes are among them
    :ivar running: the events of those that run or are held by a batch, by offset
    :ivar committed: what was committed last
    """

    partition: int
    marks: Watermark
    committed: Commit
    lanes: dict[int, Lane] = field(default_factory=dict)
    running: dict[int, Event] = field(default_factory=dict)
    in_flight: int = 0
    is_paused: bool = False
    is_revoked: bool = False

    def revoke(self) -> None:
        """Begin no message any more; those that wait are left to whoever gets the partition."""
        self.is_revoked = True
        for lane in self.lanes.values():
            self.in_flight -= len(lane.waiting)
            lane.waiting.clear()


class Run:
    """One attempt at a message: it ends, or is held by a batch so that the next message may follow.

    :ivar moved: set when either has happened
    :ivar is_over: it has ended, with `error` or well
    """

    __slots__ = ("error", "is_over", "moved", "_late")

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.is_over = False
        self.moved: asyncio.Future[None] | None = None
        self._late: asyncio.Future[None] | None = None

    def end(self, error: BaseException | None) -> None:
        """The event is done, as the engine says."""
        self.error, self.is_over = error, True
        self.park()
        if self._late is not None and not self._late.done():
            self._late.set_result(None)

    def park(self) -> None:
        """All that is alive of it is held."""
        if self.moved is not None and not self.moved.done():
            self.moved.set_result(None)

    async def until_over(self) -> BaseException | None:
        """Wait for the end."""
        if not self.is_over:
            self._late = asyncio.get_running_loop().create_future()
            await self._late
        return self.error
