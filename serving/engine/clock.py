"""The time, for whatever waits: batches, joins, retries. Tests put in a clock of their own."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Protocol

from ...deferred import asyncio


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Do not call."""


class Clock(Protocol):
    """What the engine asks for the time. Its methods are called on the engine's loop."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back once so many seconds have passed."""


class SystemClock:
    """The machine's monotonic clock, which servers take that are given no other.

    >>> clock = SystemClock()
    >>> clock.now() <= clock.now()
    True
    """

    def now(self) -> float:
        """Seconds since the machine started."""
        return time.monotonic()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """A timer of the running loop."""
        return asyncio.get_running_loop().call_later(max(0.0, seconds), callback)


class _FakeTimer:
    def __init__(self, callback: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self.callback: Callable[[], None] | None = callback
        self.loop = loop

    def cancel(self) -> None:
        self.callback = None

    def run(self) -> None:
        if self.callback is not None:
            self.callback()


class FakeClock:
    """A clock that stands still until :meth:`advance` is called; for tests of batches, joins and retries.

    >>> clock = FakeClock()
    >>> clock.advance(30)
    >>> clock.now()
    30.0
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, _FakeTimer]] = []
        self._order = itertools.count()
        self._set = threading.Condition()

    def now(self) -> float:
        """Seconds that were advanced."""
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back once the clock was advanced so far."""
        timer = _FakeTimer(callback, asyncio.get_running_loop())
        with self._set:
            while self._timers and self._timers[0][2].callback is None:
                heapq.heappop(self._timers)
            heapq.heappush(self._timers, (self._now + seconds, next(self._order), timer))
            self._set.notify_all()
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass: what is due is called on the loop that asked for it. May be called from any thread."""
        with self._set:
            self._now += seconds
            due = []
            while self._timers and self._timers[0][0] <= self._now:
                due.append(heapq.heappop(self._timers)[2])
        for timer in due:
            if timer.callback is not None:
                with contextlib.suppress(RuntimeError):  # its loop is closed
                    timer.loop.call_soon_threadsafe(timer.run)

    @property
    def pending(self) -> int:
        """How many timers wait."""
        with self._set:
            return sum(timer.callback is not None for _, _, timer in self._timers)

    def wait_for_timers(self, count: int = 1, *, timeout_seconds: float = 10.0) -> None:
        """Block until so many timers wait, so that a test knows when to :meth:`advance`.

        :raises TimeoutError: there are fewer after `timeout_seconds` of real time
        """
        with self._set:
            if not self._set.wait_for(lambda: self.pending >= count, timeout_seconds):
                raise TimeoutError(f"{self.pending} timers wait after {timeout_seconds:g} s, not {count}")


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait by a clock."""
    waker = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not waker.done():
            waker.set_result(None)

    timer = clock.call_later(seconds, wake)
    try:
        await waker
    finally:
        timer.cancel()
