"""Units that make several events of one: FlatMap's items and a generator's chunks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from .event import Event
from .stream import StreamAnswer, StreamClosed
from .threads import ThreadPool
from .unit import TAKEN, Op, StepInfo, Unit, failed

if TYPE_CHECKING:
    from .engine import Engine


class FlatUnit(Unit):
    """Sends on every item of an iterable as an event of its own.

    :ivar in_flight: how many items may be on their way at a time where an async step follows
    """

    __slots__ = ("awaits", "in_flight", "op")

    def __init__(self, op: Op, *, awaits: bool, in_flight: int) -> None:
        super().__init__(op[2])
        self.op = op
        self.awaits = awaits
        self.in_flight = in_flight
        self.is_async = True

    async def run(self, engine: Engine, event: Event, body: Any) -> Any:
        _, fn, info = self.op
        completion = event._completion
        assert completion is not None  # noqa: S101 - every event that walks has one
        running: set[asyncio.Task[None]] = set()
        try:
            items = fn(body)
            if self.awaits and not hasattr(items, "__aiter__"):
                items = await items
            async for item in _each(items):
                for outlet in self.select(item) if self.select else self.outlets:
                    completion.hold()
                    walk = engine.walk(outlet, event.fork(item), item)
                    if not outlet.reaches_async:
                        await walk
                        continue
                    if len(running) >= self.in_flight:
                        _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    running.add(engine.start_walk(walk, completion))
        except Exception as error:
            failed(event, body, info, error)
        completion.release()
        return TAKEN


async def _each(items: Any) -> AsyncIterator[Any]:
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


class StreamUnit(Unit):
    """Sends on every chunk of a generator, one after the other, and makes a stream of what reaches the responder."""

    __slots__ = ("fn", "pool", "takes_event")

    def __init__(self, fn: Callable[[Any], Any], info: StepInfo, *, takes_event: bool, pool: ThreadPool | None) -> None:
        super().__init__(info)
        self.fn = fn
        self.takes_event = takes_event
        self.pool = pool
        self.is_async = True

    async def run(self, engine: Engine, event: Event, body: Any) -> Any:
        completion = event._completion
        assert completion is not None  # noqa: S101 - every event that walks has one
        outer = event._stream
        stream = outer or StreamAnswer()
        event.body = body
        chunks = _chunks(self.fn(event if self.takes_event else body), self.pool)
        try:
            async for chunk in chunks:
                if self.responds:
                    await _answer(completion, stream, chunk)
                for outlet in self.select(chunk) if self.select else self.outlets:
                    if stream.closed:
                        raise StreamClosed
                    branch = event.fork(chunk)
                    branch._stream = stream
                    completion.hold()
                    await engine.walk(outlet, branch, chunk)
        except StreamClosed:
            engine.logger.debug("step '%s': the reader of its stream went away", self.info.path)
        except Exception as error:
            if stream.started and outer is None:
                stream.end(error)
                completion.failed = True
                engine.report(event, error, self.info)
            else:
                failed(event, body, self.info, error)
        finally:
            await chunks.aclose()
            if outer is None:
                stream.end()
        completion.release()
        return TAKEN


async def _answer(completion: Any, stream: StreamAnswer, chunk: Any) -> None:
    if not stream.started:
        stream.started = True
        completion.answer(stream)
    await stream.send(chunk)


async def _chunks(made: Any, pool: ThreadPool | None) -> Any:
    """The chunks of a plain or async generator; a plain one gives way to the loop between chunks."""
    if hasattr(made, "__aiter__"):
        async with contextlib.aclosing(made):
            async for chunk in made:
                yield chunk
        return
    with contextlib.closing(made):
        while True:
            chunk = await pool.run(_next, made) if pool else _next(made)
            if chunk is _END:
                return
            yield chunk
            await asyncio.sleep(0)


_END = object()


def _next(made: Iterator[Any]) -> Any:
    return next(made, _END)


