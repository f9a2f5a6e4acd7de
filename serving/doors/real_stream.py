"""One queue at its address, opened once for all who write to it or read it in this process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from ...errors import MillraceError, Unavailable
from ...queues.address import queue_at
from ...queues.base import Queue
from ...queues.message import Message
from ..engine.queue_unit import Confirmed
from .outbox import OUTBOX, Outbox
from .wiring import Wire

WRITE_MESSAGES = 1_000
CLOSE_SECONDS = 5.0


class RealStream:
    """What a queue step writes to. It is opened at the start, or when it is first needed.

    One write is under way at a time; what comes meanwhile goes with the next one, so that messages stay in order and
    many of them share a write.

    :ivar appended: messages written here
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.appended = 0
        self._queue = queue_at(wire.url, wire.settings)
        self._opening: asyncio.Future[Queue] | None = None
        self._waiting: deque[tuple[Message, Confirmed]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_writing = False

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

    def put(self, message: Message, confirmed: Confirmed) -> None:
        """Write a message, or keep it for the transaction of what is being handled."""
        outbox = OUTBOX.get()
        if outbox is not None:
            self._start(self._put_out(outbox, message, confirmed))
            return
        self._waiting.append((message, confirmed))
        if not self._is_writing:
            self._is_writing = True
            self._start(self._write())

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _put_out(self, outbox: Outbox, message: Message, confirmed: Confirmed) -> None:
        try:
            outbox.put(await self.opened(), message, self)
        except Exception as error:
            confirmed(error)
        else:
            confirmed(None)

    async def _write(self) -> None:
        try:
            while self._waiting:
                await self._write_some()
        finally:
            self._is_writing = False

    async def _write_some(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(WRITE_MESSAGES, len(self._waiting)))]
        error = await self._failure([message for message, _ in batch])
        if error is None or len(batch) == 1 or isinstance(error, Unavailable):
            for _, confirmed in batch:
                confirmed(error)
            return
        for message, confirmed in batch:  # one of them is refused, and nobody says which
            confirmed(await self._failure([message]))

    async def _failure(self, messages: list[Message]) -> Exception | None:
        """Write messages; what kept them from being written."""
        try:
            await self.append_all(messages)
        except Exception as error:
            return error
        return None

    async def append_all(self, messages: list[Message]) -> None:
        """Append messages; they are safe when this returns."""
        queue = await self.opened()
        self.appended += len(await queue.append(messages))

    async def close(self) -> None:
        """Close what was opened; what is being written then fails."""
        if self._opening is None:
            return
        await asyncio.wait([self._opening], timeout=0)
        if self._opening.done() and not self._opening.cancelled() and self._opening.exception() is None:
            await self._opening.result().close()
        else:
            self._opening.cancel()
            await self._queue.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
