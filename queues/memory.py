"""A stream in the memory of this process, for tests and the mock server."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from ..deferred import asyncio
from .message import Message

KEPT_MESSAGES = 100_000


class MemoryQueue:
    """A bounded log of messages in order, for one reader and any number of writers on one event loop.

    :param max_messages: how many are kept; a writer waits while so many are unread, and the oldest read ones go

    >>> queue = MemoryQueue("orders")
    >>> asyncio.run(queue.append(Message(b"1"))).offset
    0
    """

    def __init__(self, name: str, *, max_messages: int = KEPT_MESSAGES) -> None:
        self.name = name
        self.messages: deque[Message] = deque(maxlen=max_messages)
        self._next_offset = 0
        self._read = 0
        self._readers = 0
        self._without_room: deque[tuple[Message, Callable[[Exception | None], None]]] = deque()
        self._catching_up: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._arrived = asyncio.Event()
        self._space = asyncio.Event()

    def put(self, message: Message, confirmed: Callable[[Exception | None], None]) -> None:
        """Add a message behind those before it, and call `confirmed`: at once, or when there is room."""
        if not self._without_room and not self._is_full:
            self.append_now(message)
            confirmed(None)
            return
        self._without_room.append((message, confirmed))
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.get_running_loop().create_task(self._catch_up())

    async def _catch_up(self) -> None:
        while self._without_room:
            message, confirmed = self._without_room[0]
            await self.append(message)
            self._without_room.popleft()
            confirmed(None)

    @property
    def _is_full(self) -> bool:
        return self._readers > 0 and self.lag >= (self.messages.maxlen or 0)

    async def append(self, message: Message) -> Message:
        """Add a message at the end and return it with its offset; waits while the reader is too far behind."""
        while self._is_full:
            self._space.clear()
            await self._space.wait()
        return self.append_now(message)

    def append_now(self, message: Message) -> Message:
        """Add a message without waiting; the oldest goes when there is no room. From any thread where nobody reads."""
        with self._lock:
            kept = replace(message, partition=0, offset=self._next_offset)
            self.messages.append(kept)
            self._next_offset += 1
        self._arrived.set()
        return kept

    @property
    def lag(self) -> int:
        """How many messages the reader has not taken yet; 0 where nobody reads."""
        return self._next_offset - self._read if self._readers else 0

    async def read(self) -> AsyncIterator[Message]:
        """The messages from the first one on, for ever; waits for new ones."""
        self._readers += 1
        try:
            while True:
                while self._read < self._next_offset:
                    first = self._next_offset - len(self.messages)
                    self._read = max(self._read, first)
                    message = self.messages[self._read - first]
                    self._read += 1
                    self._space.set()
                    yield message
                self._arrived.clear()
                await self._arrived.wait()
        finally:
            self._readers -= 1
            self._space.set()

    def close(self) -> None:
        """Forget all messages."""
        self.messages.clear()
        self._read = self._next_offset
        self._space.set()
