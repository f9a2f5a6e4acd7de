"""One queue at its address, opened once for all who write to it or read it in this process."""

from __future__ import annotations

import asyncio

from ...errors import MillraceError, Unavailable
from ...queues.address import queue_at
from ...queues.base import Queue
from ...queues.message import Message
from .outbox import OUTBOX
from .wiring import Wire


class RealStream:
    """What a queue step writes to. It is opened at the start, or when it is first needed.

    :ivar appended: messages written here
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.appended = 0
        self._queue = queue_at(wire.url, wire.settings)
        self._opening: asyncio.Future[Queue] | None = None

    async def opened(self) -> Queue:
        """The queue, open.

        :raises Unavailable: it can not be opened; the next call tries again
        """
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.ensure_future(self._queue.open())
        try:
            return await asyncio.shield(self._opening)
        except (MillraceError, OSError) as error:
            url = "" if self.wire.url in str(error) else f"{self.wire.url}: "
            raise Unavailable(f"'{self.wire.name}' can not be opened: {url}{error}") from error

    async def append(self, message: Message) -> Message:
        """Append a message; it is safe when this returns, or is kept for the transaction of what is being handled."""
        outbox = OUTBOX.get()
        if outbox is not None:
            outbox.put(await self.opened(), message, self)
            return message
        (kept,) = await self._append([message])
        return kept

    async def append_all(self, messages: list[Message]) -> None:
        """Append messages; they are safe when this returns."""
        await self._append(messages)

    async def _append(self, messages: list[Message]) -> list[Message]:
        queue = await self.opened()
        kept = await queue.append(messages)
        self.appended += len(kept)
        return kept

    async def close(self) -> None:
        """Close what was opened."""
        if self._opening is None:
            return
        await asyncio.wait([self._opening], timeout=0)
        if self._opening.done() and not self._opening.cancelled() and self._opening.exception() is None:
            await self._opening.result().close()
        else:
            self._opening.cancel()
            await self._queue.close()
