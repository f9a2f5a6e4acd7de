"""One partition of a stream door: what of it is done, and what waits its turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ...queues.base import Commit
from ...queues.message import Message
from ..engine.event import Event
from ..engine.intake import Intake
from .watermark import Watermark


@dataclass(slots=True, eq=False)
class Lane:
    """Messages that stay in order: one runs, the others wait."""

    waiting: deque[Message] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class Share:
    """One partition of this door. A share that was revoked begins no message any more.

    :ivar lanes: those in which a message runs or waits
    :ivar in_flight: messages taken and not done; those that wait in lanes are among them
    :ivar running: the events of those that run or are held by a batch, by offset
    :ivar gone: set when it was revoked
    :ivar repair: held by the message that is tried again; where order counts, none begins meanwhile
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
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    repair: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_clear(self) -> bool:
        """Whether nothing runs or waits here, and nothing was done ahead of the watermark."""
        return not self.is_revoked and not self.lanes and self.marks.is_clear

    @property
    def uncommitted(self) -> int:
        """How many messages were taken and not committed, counting offsets without a message as taken."""
        return self.marks.position - self.committed.watermark - len(self.committed.done)

    def lane(self, number: int) -> Lane:
        """A lane, made when it is new."""
        found = self.lanes.get(number)
        if found is None:
            found = self.lanes[number] = Lane()
        return found

    def revoke(self) -> None:
        """Begin no message any more; those that wait are left to whoever gets the partition."""
        self.is_revoked = True
        self.gone.set()
        for lane in self.lanes.values():
            self.in_flight -= len(lane.waiting)
            lane.waiting.clear()


class Run(Intake):
    """One attempt at a message: it ends, or is held or on its way into a stream so that the next message may follow.

    :ivar is_over: it has ended, with `error` or well
    :ivar then: called at the end
    """

    __slots__ = ("_moved", "_over", "is_over", "then")

    def __init__(self) -> None:
        super().__init__(self.end, self.park)
        self.is_over = False
        self.then: Callable[[], None] | None = None
        self._moved: asyncio.Future[None] | None = None
        self._over: asyncio.Future[None] | None = None

    def end(self, error: BaseException | None) -> None:
        """The message is done, or has failed."""
        self.error, self.is_over = error, True
        self.park()
        _set(self._over)
        if self.then is not None:
            self.then()

    def park(self) -> None:
        """All that is alive of it is held, or on its way into a stream."""
        _set(self._moved)

    async def until_moved(self) -> None:
        """Wait until it is over or held. To be called right after its start."""
        if not self.is_over:
            self._moved = asyncio.get_running_loop().create_future()
            if not self.is_parked:
                await self._moved

    async def until_over(self) -> BaseException | None:
        """Wait for the end."""
        if not self.is_over:
            self._over = asyncio.get_running_loop().create_future()
            await self._over
        return self.error


def _set(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
