"""Units that make several events of one: FlatMap's items and a generator's chunks."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

from ...deferred import asyncio
from .completion import Completion
from .copying import copy_body
from .event import Event
from .stream import END, StreamCompletion
from .threads import ThreadPool
from .unit import TAKEN, StepInfo, Unit, failed, faults
from .walk import isolated, respond, walk

if TYPE_CHECKING:
    from .engine import Engine

ITEMS_AT_ONCE = 256
"""So many plain items follow each other before the loop may do other things."""


class ManyUnit(Unit):
    """A unit that sends on many bodies for one.

    :param start: gives the iterable, or an awaitable of it, for an event and its body
    :param write: puts an item where it belongs in a copy of the event's body (``result_path``)
    """

    __slots__ = ("start", "write")

    def __init__(
        self, start: Callable[[Event, Any], Any], info: StepInfo, write: Callable[[Any, Any], Any] | None
    ) -> None:
        super().__init__(info)
        self.start = start
        self.write = write
        self.is_async = True

    def branches(self, event: Event, body: Any, item: Any) -> list[tuple[Unit, Event, Any]]:
        """Where an item goes: the unit, the event and its body; each but the first gets a body of its own."""
        branch = event.fork(item)
        if isinstance(item, Event):
            branch.adopt(item)
            item = item.body
        if self.write is not None:
            item = self.write(copy_body(body), item)
        branch.body = item
        outlets: Sequence[Unit] = self.select(item) if self.select else self.outlets
        ends: tuple[Unit, ...] = (self, *outlets) if self.responds else tuple(outlets)
        bodies = isolated(self, len(ends), item)
        events = [branch, *(branch.fork(one) for one in bodies[1:])]
        return list(zip(ends, events, bodies, strict=False))


class FlatUnit(ManyUnit):
    """Sends on every item of an iterable as an event of its own.

    :param awaits: whether `start` gives an awaitable
    :param in_flight: how many items may be on their way at a time where an async step follows
    """

    __slots__ = ("awaits", "in_flight")

    def __init__(
        self, start: Callable[[Event, Any], Any], info: StepInfo, write: Callable[[Any, Any], Any] | None,
        *, awaits: bool, in_flight: int,
    ) -> None:  # fmt: skip
        super().__init__(start, info, write)
        self.awaits = awaits
        self.in_flight = in_flight

    async def run(self, engine: Engine, event: Event, body: Any) -> Any:
        completion = event._completion
        assert completion is not None  # noqa: S101 - every event that walks has one
        running: set[asyncio.Task[None]] = set()
        try:
            items = self.start(event, body)
            if self.awaits and not hasattr(items, "__aiter__"):
                items = await items
            async for item in _each(items):
                for end in self.branches(event, body, item):
                    await self._send_on(engine, completion, end, running)
        except faults() as error:
            failed(event, body, self.info, error)
        completion.release()
        return TAKEN

    async def _send_on(
        self, engine: Engine, completion: Completion, end: tuple[Unit, Event, Any], running: set[asyncio.Task[None]]
    ) -> None:
        unit, event, body = end
        if unit is self:
            await respond(completion, event, body)
            return
        completion.hold()
        if not unit.reaches_async:
            await walk(engine, unit, event, body)
            return
        if len(running) >= self.in_flight:
            with engine.walks.stalled(lambda: not any(task.done() for task in running)):
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            running -= done
        running.add(engine.walks.start(walk(engine, unit, event, body), completion))


async def _each(items: Any) -> AsyncIterator[Any]:
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
        return
    for count, item in enumerate(items, 1):
        yield item
        if count % ITEMS_AT_ONCE == 0:
            await asyncio.sleep(0)


class StreamUnit(ManyUnit):
    """Sends on every chunk of a generator, one after the other, and makes a stream of what reaches the responder.

    A chunk that fails in a later step ends the stream with the error, as an error of the generator does.
    """

    __slots__ = ("pool",)

    def __init__(
        self, start: Callable[[Event, Any], Any], info: StepInfo, write: Callable[[Any, Any], Any] | None,
        *, pool: ThreadPool | None,
    ) -> None:  # fmt: skip
        super().__init__(start, info, write)
        self.pool = pool

    async def run(self, engine: Engine, event: Event, body: Any) -> Any:
        parent = event._completion
        assert parent is not None  # noqa: S101 - every event that walks has one
        if event._stream is not None:  # a chunk of a stream becomes several chunks of it
            await self._run_within(engine, event, body, event)
            parent.release()
            return TAKEN
        stream = engine.open_stream()
        chunks = StreamCompletion(stream, parent, engine.orphaned)
        parent.hold()
        source = event.fork(body)
        source._completion, source._stream = chunks, stream
        try:
            is_empty = not await self._run_within(engine, event, body, source)
        except BaseException:
            # Before its first chunk the event answers otherwise; after it only a stop of the engine gets here.
            stream.end(engine.refusal()) if stream.started else stream.close()
            raise
        finally:
            chunks.release()
        if is_empty and not chunks.failed and parent.pending == 1:
            parent.answer(stream)  # it has no chunks, but it is a stream all the same
        parent.release()
        return TAKEN

    async def _run_within(self, engine: Engine, event: Event, body: Any, source: Event) -> bool:
        """Send on the chunks; whether there was one."""
        stream, came = source._stream, False
        assert stream is not None  # noqa: S101 - set by run
        try:
            async with contextlib.aclosing(_chunks(self.start(event, body), self.pool)) as chunks:
                async for chunk in chunks:
                    came = True
                    for end in self.branches(source, body, chunk):
                        await self._send_on(engine, end)
                    if stream.is_over:
                        break
        except faults() as error:
            if not stream.started:
                failed(event, body, self.info, error)
            await self._caught(engine, source, body, error)
        return came

    async def _send_on(self, engine: Engine, end: tuple[Unit, Event, Any]) -> None:
        unit, event, body = end
        completion = event._completion
        assert completion is not None  # noqa: S101 - every event that walks has one
        if unit is self:
            await respond(completion, event, body)
        else:
            completion.hold()
            await walk(engine, unit, event, body)

    async def _caught(self, engine: Engine, source: Event, body: Any, error: BaseException) -> None:
        """The generator broke when its answer had begun: what a catcher makes of it is the last chunk."""
        completion = source._completion
        assert completion is not None  # noqa: S101 - set by run
        try:
            failed(source, body, self.info, error)
        except Exception as fault:
            catcher = engine.caught(source, fault)
        if catcher is not None:
            completion.hold()
            await walk(engine, catcher, source, body)


async def _chunks(made: Any, pool: ThreadPool | None) -> AsyncGenerator[Any, None]:
    """The chunks of a plain or async generator; a plain one gives way to the loop between chunks."""
    if hasattr(made, "__aiter__"):
        async with contextlib.aclosing(made):
            async for chunk in made:
                yield chunk
        return
    try:
        while (chunk := await pool.run(_next, made) if pool else _next(made)) is not END:
            yield chunk
            await asyncio.sleep(0)
    finally:
        if not made.gi_running:  # else a thread, which nobody waits for any more, is in it
            made.close()


def _next(made: Generator[Any, Any, Any]) -> Any:
    return next(made, END)
