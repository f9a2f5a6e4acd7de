"""The answer of a graph with a generator step: chunks that arrive while the caller reads."""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from ...deferred import asyncio
from .completion import Completion, JointCompletion, release_parents

MAX_CHUNKS = 16

Stalled = Callable[[Callable[[], bool]], contextlib.AbstractContextManager[Any]]


class StreamClosed(Exception):
    """The caller does not read the stream any more."""


class StreamAnswer:
    """A bounded buffer of chunks between the graph, on its loop, and one reader in any thread or on any loop.

    The graph waits when `MAX_CHUNKS` are unread. A reader that goes away ends the generator.

    :param stalled: makes a context in which the graph waits for the reader, as long as the function given to it says
    """

    def __init__(self, stalled: Stalled = contextlib.nullcontext) -> None:
        self.loop = asyncio.get_running_loop()
        self.started = False
        self.closed = False
        self._stalled = stalled
        self._lock = threading.Lock()
        self._chunks: deque[Any] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._readers: list[Callable[[], None]] = []
        self._room = asyncio.Event()
        self._is_room_wanted = False

    @property
    def is_over(self) -> bool:
        """Whether no further chunk is wanted: the reader went away, or the stream has ended."""
        return self.closed or self._ended

    async def send(self, chunk: Any) -> None:
        """Add a chunk; waits for room. On the stream's loop.

        :raises StreamClosed: no further chunk is wanted
        """
        if self._is_full():
            with self._stalled(self._is_full):
                await self._until_room()
        if self.is_over:
            raise StreamClosed
        with self._lock:
            self._chunks.append(chunk)
        self._wake_readers()

    def _is_full(self) -> bool:
        return len(self._chunks) >= MAX_CHUNKS and not self.is_over

    async def _until_room(self) -> None:
        while True:
            with self._lock:
                if not self._is_full():
                    return
                self._room.clear()
                self._is_room_wanted = True
            await self._room.wait()

    def end(self, error: BaseException | None = None) -> None:
        """No chunk comes after this; with an error, the reader gets it after the chunks before it."""
        with self._lock:
            if self._ended:
                return
            self._ended, self._error = True, error
        self._room.set()
        self._wake_readers()

    def close(self) -> None:
        """The reader goes away. On the stream's loop; :func:`close_stream` does it from elsewhere."""
        with self._lock:
            self.closed = True
            self._chunks.clear()
        self._room.set()
        self._wake_readers()

    def take(self, wake: Callable[[], None]) -> Any:
        """The next chunk, ``END`` after the last, or ``PENDING``, and then `wake` is called when there is more to see.

        From any thread. An error that ended the stream is raised after the chunks before it.
        """
        with self._lock:
            if not self._chunks:
                if self._error is not None and not self.closed:
                    raise self._error
                if self.is_over:
                    return END
                self._readers.append(wake)
                return PENDING
            chunk = self._chunks.popleft()
            is_room_wanted, self._is_room_wanted = self._is_room_wanted, False
        if is_room_wanted:
            _call_on(self.loop, self._room.set)
        return chunk

    async def next(self) -> Any:
        """The next chunk, on any loop; ``StopAsyncIteration`` after the last."""
        loop = asyncio.get_running_loop()
        while True:
            turn: asyncio.Future[None] = loop.create_future()
            wake = functools.partial(_call_on, loop, functools.partial(_settle, turn))
            chunk = self.take(wake)
            if chunk is END:
                raise StopAsyncIteration
            if chunk is not PENDING:
                return chunk
            try:
                await turn
            except asyncio.CancelledError:
                with self._lock, contextlib.suppress(ValueError):  # it may have been called just now
                    self._readers.remove(wake)
                raise

    def _wake_readers(self) -> None:
        with self._lock:
            readers, self._readers = self._readers, []
        for wake in readers:
            wake()

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
        return await self._stream.next()

    async def aclose(self) -> None:
        """Stop reading."""
        close_stream(self._stream)


class _Reader:
    def __init__(self, stream: StreamAnswer) -> None:
        self._stream = stream
        self._more = threading.Event()
        weakref.finalize(self, close_stream, stream).atexit = False

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> Any:
        while (chunk := self._stream.take(self._more.set)) is PENDING:
            self._more.wait()
            self._more.clear()
        if chunk is END:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Stop reading."""
        close_stream(self._stream)


END = object()
PENDING = object()


def close_stream(stream: StreamAnswer) -> None:
    """Close a stream from any thread."""
    _call_on(stream.loop, stream.close)


def _call_on(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody there waits any more
        loop.call_soon_threadsafe(function)


def _settle(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
