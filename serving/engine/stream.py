"""The answer of a graph with a generator step: chunks that arrive while the caller reads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from ...errors import Draining
from .completion import Completion, JointCompletion, release_parents

MAX_CHUNKS = 16

Stalled = Callable[[Callable[[], bool]], contextlib.AbstractContextManager[Any]]


class StreamClosed(Exception):
    """The caller does not read the stream any more."""


class StreamAnswer:
    """A bounded buffer of chunks between the graph, on its loop, and one reader anywhere.

    The graph waits when `MAX_CHUNKS` are unread. A reader that goes away ends the generator.

    :param stalled: makes a context in which the graph waits for the reader, as long as the function given to it says
    """

    def __init__(self, stalled: Stalled = contextlib.nullcontext) -> None:
        self.loop = asyncio.get_running_loop()
        self.started = False
        self.closed = False
        self._stalled = stalled
        self._chunks: deque[Any] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether no further chunk is wanted: the reader went away, or the stream has ended."""
        return self.closed or self._ended

    async def send(self, chunk: Any) -> None:
        """Add a chunk; waits for room.

        :raises StreamClosed: no further chunk is wanted
        """
        if self._is_full():
            with self._stalled(self._is_full):
                while self._is_full():
                    self._changed.clear()
                    await self._changed.wait()
        if self.is_over:
            raise StreamClosed
        self._chunks.append(chunk)
        self._changed.set()

    def _is_full(self) -> bool:
        return len(self._chunks) >= MAX_CHUNKS and not self.is_over

    def end(self, error: BaseException | None = None) -> None:
        """No chunk comes after this; with an error, the reader gets it after the chunks before it."""
        if not self._ended:
            self._ended, self._error = True, error
            self._changed.set()

    def close(self) -> None:
        """The reader goes away."""
        self.closed = True
        self._chunks.clear()
        self._changed.set()

    async def next(self) -> Any:
        """The next chunk, on the stream's own loop; ``StopAsyncIteration`` after the last."""
        while not self._chunks:
            if self._ended and self._error is not None and not self.closed:
                raise self._error
            if self.is_over:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._taken()

    def next_left(self) -> Any:
        """The next chunk of a stream whose loop is closed, ``END`` after the last; the error where it did not end."""
        if self._chunks:
            return self._chunks.popleft()
        if self._error is not None or not self.is_over:
            raise self._error or Draining
        return END

    def _taken(self) -> Any:
        chunk = self._chunks.popleft()
        self._changed.set()
        return chunk

    def __aiter__(self) -> AsyncIterator[Any]:
        return _AsyncReader(self)

    def reader(self) -> Iterator[Any]:
        """A plain iterator for another thread than the loop's; dropping it closes the stream."""
        return _Reader(self)


class StreamCompletion(JointCompletion):
    """The completion of a stream's chunks: when they are done the stream ends; one that fails ends it at once."""

    __slots__ = ("stream",)

    def __init__(
        self, stream: StreamAnswer, parent: Completion, orphaned: Callable[[Completion], None] | None
    ) -> None:
        super().__init__([parent], orphaned, _end_stream)
        self.stream = stream

    @property
    def awaited(self) -> bool:
        """Whether the caller waits for the stream to start; after that, errors go to its reader and are reported."""
        return not self.stream.started and super().awaited

    def fail(self, error: BaseException) -> bool:
        """End the stream with the error; before it starts, the caller gets the error."""
        reached = super().fail(error)
        self.stream.end(error)
        return reached


def _end_stream(completion: StreamCompletion) -> None:
    completion.stream.end()
    release_parents(completion)


class _AsyncReader:
    def __init__(self, stream: StreamAnswer) -> None:
        self._stream = stream
        weakref.finalize(self, close_stream, stream).atexit = False

    def __aiter__(self) -> _AsyncReader:
        return self

    async def __anext__(self) -> Any:
        loop = self._stream.loop
        if asyncio.get_running_loop() is loop:
            return await self._stream.next()
        chunk = self._stream.next_left() if loop.is_closed() else await _awaited(self._stream)
        if chunk is END:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Stop reading."""
        close_stream(self._stream)


class _Reader:
    def __init__(self, stream: StreamAnswer) -> None:
        self._stream = stream
        weakref.finalize(self, close_stream, stream).atexit = False

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> Any:
        stream = self._stream
        try:
            chunk = stream.next_left() if stream.loop.is_closed() else _asked(stream).result()
        except concurrent.futures.CancelledError:
            raise Draining from None
        if chunk is END:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Stop reading."""
        close_stream(self._stream)


END = object()


async def _awaited(stream: StreamAnswer) -> Any:
    future = _asked(stream)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Draining from None  # not the reader was cancelled, but the stream's loop has stopped


def _asked(stream: StreamAnswer) -> concurrent.futures.Future[Any]:
    """A future of the next chunk, from any thread."""
    coroutine = _or_end(stream)
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, stream.loop)
    except RuntimeError:
        coroutine.close()
        raise Draining from None


async def _or_end(stream: StreamAnswer) -> Any:
    try:
        return await stream.next()
    except StopAsyncIteration:
        return END


def close_stream(stream: StreamAnswer) -> None:
    """Close a stream from any thread."""
    with contextlib.suppress(RuntimeError):  # the loop is closed, and the stream with it
        stream.loop.call_soon_threadsafe(stream.close)
