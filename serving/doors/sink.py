"""A stream that is written in the background: errors, and records of what models answered."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

from ...queues.message import Message

logger = logging.getLogger("millrace.stream")

SINK_MESSAGES = 10_000
BATCH_MESSAGES = 500
AGAIN_SECONDS = 1.0
LAST_SECONDS = 0.1  # to stop writing


class Target(Protocol):
    """The stream that a sink writes to."""

    async def append_all(self, messages: list[Message]) -> None:
        """Return when the messages are safe."""


class Sink:
    """Writes messages in the background, in order; while its stream is away it keeps the last 10,000.

    :ivar lost: how many were not written, because more came in than could be kept
    """

    def __init__(self, stream: Target, url: str) -> None:
        self.lost = 0
        self._stream = stream
        self._url = url
        self._waiting: deque[Message] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing: asyncio.Task[None] | None = None
        self._is_closing = False
        self._is_away = False

    def put(self, message: Message) -> None:
        """Take a message, from any thread."""
        if len(self._waiting) >= SINK_MESSAGES:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(message)
        loop = self._loop
        if loop is not None and self._writing is None:
            loop.call_soon_threadsafe(self._write)

    def start(self) -> None:
        """Begin to write, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._write()

    def _write(self) -> None:
        if self._waiting and self._writing is None and self._loop is not None:
            self._writing = self._loop.create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._waiting and await self._write_some():
            pass
        self._writing = None
        if not self._is_closing:
            self._write()  # what was put in by another thread just before this line

    async def _write_some(self) -> bool:
        """Write one batch; whether to go on."""
        batch = [self._waiting.popleft() for _ in range(min(BATCH_MESSAGES, len(self._waiting)))]
        try:
            await self._stream.append_all(batch)
        except asyncio.CancelledError:  # the end: they count as lost, though some may have been written
            self._take_back(batch)
            raise
        except Exception as error:
            self._take_back(batch)
            if not self._is_away or self._is_closing:
                logger.error("%s can not be written; %d messages wait: %s", self._url, len(self._waiting), error)
            self._is_away = True
            if self._is_closing:
                return False
            await asyncio.sleep(AGAIN_SECONDS)
            return True
        self._is_away = False
        return True

    def _take_back(self, batch: list[Message]) -> None:
        room = max(0, SINK_MESSAGES - len(self._waiting))
        self.lost += max(0, len(batch) - room)
        self._waiting.extendleft(reversed(batch[len(batch) - room :] if room else []))

    async def close(self, seconds: float) -> None:
        """Try once more to write what waits; what is not written then is told of."""
        self._is_closing = True
        self._write()
        writing = self._writing
        if writing is not None:
            await asyncio.wait([writing], timeout=seconds)
            writing.cancel()
            await asyncio.wait([writing], timeout=LAST_SECONDS)
        self._loop = None
        if self.lost or self._waiting:
            logger.error("%s: %d messages were not written", self._url, self.lost + len(self._waiting))
