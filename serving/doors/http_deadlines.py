"""One time limit for many exchanges, by one timer: as it is the same for all, they end in the order they began."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Expiring(Protocol):
    """What has a deadline."""

    deadline: float

    def expire(self) -> None:
        """The time is over."""


class Deadlines:
    """Expires what is not discarded within `seconds`. A timer of the loop for each would cost ten times as much."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._waiting: dict[Expiring, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, one: Expiring) -> None:
        """Start its time."""
        one.deadline = self._loop.time() + self._seconds
        self._waiting[one] = None
        if self._timer is None:
            self._timer = self._loop.call_at(one.deadline, self._fire)

    def discard(self, one: Expiring) -> None:
        """It is done."""
        self._waiting.pop(one, None)

    def close(self) -> None:
        """Expire nothing more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        now = self._loop.time()
        over = []
        for one in self._waiting:
            if one.deadline > now:
                self._timer = self._loop.call_at(one.deadline, self._fire)
                break
            over.append(one)
        for one in over:
            del self._waiting[one]
        for one in over:
            one.expire()
