"""From a call to an operation: where it runs, how long, how often, how many at a time. Decided once, when compiled."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...deferred import asyncio
from ...errors import GraphError, MillraceError
from ..graph.options import StepOptions
from .call import Call
from .clock import Clock, sleep
from .gate import Gate
from .hold import HoldUnit
from .threads import ThreadPool
from .timeout import Timed, took_longer

if TYPE_CHECKING:
    from .processes import WorkerPool

DEFAULT_IN_FLIGHT = 64
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 30.0

AsyncFn = Callable[[Any], Awaitable[Any]]


@dataclass(slots=True)
class Resources:
    """What a compiled graph has opened and must close, and the units of all its parts that keep events."""

    threads: list[ThreadPool] = field(default_factory=list)
    workers: list[WorkerPool] = field(default_factory=list)
    holds: list[HoldUnit] = field(default_factory=list)
    gates: dict[str, Gate] = field(default_factory=dict)

    def close(self) -> None:
        """End threads and processes."""
        for threads in self.threads:
            threads.close()
        for workers in self.workers:
            workers.close()


def executed(call: Call, path: str, clock: Clock, resources: Resources) -> tuple[Callable[[Any], Any], bool]:
    """The function to call with the body or event, and whether it is async."""
    options = call.options
    moved = options.execution in ("thread", "process") or (options.timeout_seconds is not None and not call.is_async)
    if not (call.is_async or moved or options.retries or options.max_in_flight):
        return call.fn, False
    fn = _placed(call, path, moved, resources)
    if options.timeout_seconds is not None and options.execution != "process":
        limit = options.timeout_seconds
        fn = Timed(fn, limit, path) if call.is_async else _timed(fn, limit, path)
    if options.retries:
        fn = _retried(fn, options, clock, takes_event=call.takes_event)
    gate = Gate(options.max_in_flight or DEFAULT_IN_FLIGHT)
    resources.gates[path] = gate
    return _gated(fn, gate), True


def _placed(call: Call, path: str, moved: bool, resources: Resources) -> AsyncFn:
    if call.options.execution == "process":
        return _in_process(call, path, resources)
    if not moved:
        return call.fn if call.is_async else _awaitable(call.fn)
    if call.is_async:
        raise GraphError(f"step '{path}' is async: it runs on the loop, execution='thread' is for plain functions")
    pool = ThreadPool(path)
    resources.threads.append(pool)

    async def in_thread(value: Any) -> Any:
        return await pool.run(call.fn, value)

    return in_thread


def _in_process(call: Call, path: str, resources: Resources) -> AsyncFn:
    from .processes import WorkerPool  # noqa: PLC0415 - for start-up: cloudpickle is for few graphs

    if call.is_async:
        raise GraphError(f"step '{path}' is async: execution='process' is for plain functions and classes")
    limit = min(call.options.max_in_flight or DEFAULT_IN_FLIGHT, os.cpu_count() or 1)
    workers = WorkerPool(path, call.remake or Same(call.fn), limit)
    workers.start()
    pool = ThreadPool(path)
    gate = Gate(limit)
    resources.workers.append(workers)
    resources.threads.append(pool)

    async def in_process(value: Any) -> Any:
        await gate.enter_async()
        try:
            process = await pool.run(workers.take)  # where one has died this starts another, on nobody's time
            async with _limit(call.options.timeout_seconds, path):
                return await pool.run(workers.call, process, value, on_abandon=process.kill)
        finally:
            gate.leave()

    return in_process


@dataclass(frozen=True, slots=True)
class Same:
    """Makes a function that needs no making, in another process too."""

    fn: Callable[..., Any]

    def __call__(self) -> Callable[..., Any]:
        return self.fn


def _awaitable(fn: Callable[[Any], Any]) -> AsyncFn:
    async def call(value: Any) -> Any:
        return fn(value)

    return call


def _timed(fn: AsyncFn, seconds: float, path: str) -> AsyncFn:
    async def call(value: Any) -> Any:
        async with _limit(seconds, path):
            return await fn(value)

    return call


@contextlib.asynccontextmanager
async def _limit(seconds: float | None, path: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise took_longer(path, seconds or 0) from error


def _retried(fn: AsyncFn, options: StepOptions, clock: Clock, *, takes_event: bool) -> AsyncFn:
    """Try again what failed; a full event gets the body back that it came with."""
    retries = options.retries or 0
    first = FIRST_BACKOFF_SECONDS if options.backoff_seconds is None else options.backoff_seconds

    async def call(value: Any) -> Any:
        body = value.body if takes_event else None
        for attempt in range(retries):
            try:
                return await fn(value)
            except Exception as error:
                if not _worth_retrying(error):
                    raise
                if takes_event:
                    value.body = body
                longest = min(first * 2**attempt, LONGEST_BACKOFF_SECONDS)
                import random  # noqa: PLC0415 - for start-up: only when something failed

                await sleep(clock, longest * random.uniform(0.5, 1.0))
        return await fn(value)

    return call


def _worth_retrying(error: Exception) -> bool:
    """Whether another try may help: not after an error that is the request's own fault."""
    return not isinstance(error, MillraceError) or error.status >= 500 or error.status == 429


def _gated(fn: AsyncFn, gate: Gate) -> AsyncFn:
    async def call(value: Any) -> Any:
        if not gate.try_enter():
            await gate.enter_async()
        try:
            return await fn(value)
        finally:
            gate.leave()

    return call
