"""A message that Nuclio brought, and one run of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from ...queues.message import Message
from ..engine.event import Event, MockTrigger
from ..engine.messages import body_of, to_event
from .ladder import undecodable
from .nuclio_ack import Place
from .nuclio_streams import Source
from .share import Share


@dataclass(slots=True, eq=False)
class Delivery:
    """A message that Nuclio brought."""

    source: Source
    message: Message
    trigger: MockTrigger
    share: Share
    place: Place

    def body(self) -> Any:
        """The message's body.

        :raises Undecodable: it is not what its content type says
        """
        try:
            return body_of(self.message, self.source.wire.content_type)
        except ValueError as error:
            raise undecodable(self.message, self.source.wire.content_type, error) from error

    def event(self) -> Event:
        """The event for it, which is noted as running.

        :raises Undecodable: it is not what its content type says
        """
        try:
            made = to_event(self.message, self.source.wire.content_type)
        except ValueError as error:
            raise undecodable(self.message, self.source.wire.content_type, error) from error
        made.trigger = self.trigger
        self.share.running[self.message.offset] = made
        return made


class Attempt:
    """One run of a message."""

    __slots__ = ("_has_moved", "_waiter", "error", "is_over")

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.is_over = False
        self._has_moved = False
        self._waiter: asyncio.Future[None] | None = None

    def end(self, error: BaseException | None) -> None:
        """It has ended, well or with an error."""
        self.error, self.is_over = error, True
        self.park()

    def park(self) -> None:
        """All that is alive of it is held, or on its way into a stream."""
        self._has_moved = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def until_moved(self) -> None:
        """Wait until it has ended or is held since the last call. One at a time may wait."""
        if not self._has_moved:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        self._has_moved = self.is_over

    async def until_over(self) -> BaseException | None:
        """Wait for the end."""
        while not self.is_over:
            await self.until_moved()
        return self.error
