"""The room in a bounded buffer: who finds none waits, in order."""

from __future__ import annotations

import asyncio
from collections import deque


class Room:
    """Counts messages and bytes in a buffer. On one event loop.

    :param most_messages: how many there may be; a call that is larger waits until the buffer is empty, and goes alone
    :param most_bytes: how many bytes of them

    >>> async def main() -> int:
    ...     room = Room(most_messages=10, most_bytes=1_000)
    ...     await room.enter(8, 100)
    ...     waiting = asyncio.create_task(room.enter(5, 100))
    ...     await asyncio.sleep(0)
    ...     room.leave(8, 100)
    ...     await waiting
    ...     return room.messages
    >>> asyncio.run(main())
    5
    """

    def __init__(self, most_messages: int, most_bytes: int) -> None:
        self.most_messages = most_messages
        self.most_bytes = most_bytes
        self.messages = self.bytes = 0
        self._waiting: deque[tuple[asyncio.Future[None], int, int]] = deque()

    async def enter(self, messages: int, size: int) -> None:
        """Wait for room, and take it."""
        if not self._waiting and self._fits(messages, size):
            self._take(messages, size)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, messages, size))
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():  # it was let in at the same moment
                self.leave(messages, size)
            self._admit()
            raise

    def leave(self, messages: int, size: int) -> None:
        """Give room back."""
        self.messages -= messages
        self.bytes -= size
        if self._waiting:
            self._admit()

    def _admit(self) -> None:
        while self._waiting:
            future, messages, size = self._waiting[0]
            if not future.done() and not self._fits(messages, size):
                return
            self._waiting.popleft()
            if not future.done():
                self._take(messages, size)
                future.set_result(None)

    def _take(self, messages: int, size: int) -> None:
        self.messages += messages
        self.bytes += size

    def _fits(self, messages: int, size: int) -> bool:
        fits = self.messages + messages <= self.most_messages and self.bytes + size <= self.most_bytes
        return fits or not self.messages
