"""The answer of a graph with a generator step: chunks that arrive while the caller reads."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

MAX_CHUNKS = 16


class StreamClosed(Exception):
    """The caller does not read the stream any more."""


class StreamAnswer:
    """A bounded buffer of chunks between the graph, on its loop, and one reader anywhere.

    The graph waits when `MAX_CHUNKS` are unread. A reader that goes away ends the generator.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.started = False
        self.closed = False
        self._chunks: deque[Any] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._changed = asyncio.Event()

    async def send(self, chunk: Any) -> None:
        """Add a chunk; waits for room."""
        while len(self._chunks) >= MAX_CHUNKS and not self.closed:
            self._changed.clear()
            await self._changed.wait()
        if self.closed:
            raise StreamClosed
        self._chunks.append(chunk)
        self._changed.set()

    def end(self, error: BaseException | None = None) -> None:
        """No chunk comes after this; with an error, the reader gets it after the chunks before it."""
        if not self._ended:
            self._ended, self._error = True, error
            self._changed.set()

    def close(self) -> None:
        """The reader goes away."""
        self.closed = True
        self._changed.set()

    async def next(self) -> Any:
        """The next chunk, on the stream's own loop; ``StopAsyncIteration`` after the last."""
        while not self._chunks:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        chunk = self._chunks.popleft()
        self._changed.set()
        return chunk

    def __aiter__(self) -> AsyncIterator[Any]:
        return _AsyncReader(self)

    def reader(self) -> Iterator[Any]:
        """A plain iterator for another thread than the loop's; dropping it closes the stream."""
        return _Reader(self)


class _AsyncReader:
    def __init__(self, stream: StreamAnswer) -> None:
        self._stream = stream

    def __aiter__(self) -> _AsyncReader:
        return self

    async def __anext__(self) -> Any:
        if asyncio.get_running_loop() is self._stream.loop:
            return await self._stream.next()
        future = asyncio.run_coroutine_threadsafe(_or_end(self._stream), self._stream.loop)
        chunk = await asyncio.wrap_future(future)
        if chunk is _END:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Stop reading."""
        _close(self._stream)


class _Reader:
    def __init__(self, stream: StreamAnswer) -> None:
        self._stream = stream
        weakref.finalize(self, _close, stream).atexit = False

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> Any:
        chunk = asyncio.run_coroutine_threadsafe(_or_end(self._stream), self._stream.loop).result()
        if chunk is _END:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Stop reading."""
        _close(self._stream)


_END = object()


async def _or_end(stream: StreamAnswer) -> Any:
    try:
        return await stream.next()
    except StopAsyncIteration:
        return _END


def _close(stream: StreamAnswer) -> None:
    if not stream.loop.is_closed():
        stream.loop.call_soon_threadsafe(stream.close)
