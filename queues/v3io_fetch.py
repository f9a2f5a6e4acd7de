"""Reading a shard ahead for a consumer. v3io answers at once when there is nothing, so one has to ask again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable

from ..errors import MillraceError, Unavailable
from .message import Message
from .v3io_client import Stream
from .v3io_options import Options
from .v3io_shards import Shards

log = logging.getLogger(__name__)


class Fetcher:
    """Holds the next messages of one shard, never more than ``fetch_messages``.

    :param on_arrival: called when there are some, or an error
    :ivar offset: of the next message that :meth:`take` gives
    :ivar failure: why no more will come
    """

    def __init__(
        self, stream: Stream, shard: int, offset: int, options: Options, on_arrival: Callable[[], None]
    ) -> None:
        self.offset = offset
        self.failure: MillraceError | None = None
        self._shards = Shards(stream)
        self._shard, self._options, self._on_arrival = shard, options, on_arrival
        self._buffer: deque[Message] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._start()

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(self.offset))

    def __len__(self) -> int:
        return len(self._buffer)

    def take(self, most: int) -> list[Message]:
        """The next messages, as far as they are here."""
        messages = [self._buffer.popleft() for _ in range(min(most, len(self._buffer)))]
        if messages:
            self.offset = messages[-1].offset + 1
        if not self._buffer:
            self._room.set()
        return messages

    async def seek(self, offset: int) -> None:
        """Go on elsewhere."""
        await self.close()
        self._buffer.clear()
        self._room.set()
        self.offset = offset
        self._start()

    async def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, offset: int) -> None:
        pause = self._options.poll_seconds
        while True:
            await self._room.wait()
            try:
                messages = await self._shards.read(self._shard, offset, self._options.fetch_messages)
            except Unavailable as error:
                log.warning("shard %d can not be read now: %s", self._shard, error)
                messages = []
            except MillraceError as error:
                self.failure = error
                self._on_arrival()
                return
            if messages:
                offset = messages[-1].offset + 1
                pause = self._options.poll_seconds
                self._room.clear()
                self._buffer += messages
                self._on_arrival()
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, self._options.idle_poll_seconds)
