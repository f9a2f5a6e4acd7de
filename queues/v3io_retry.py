"""Waiting before one tries again."""

from __future__ import annotations

import asyncio
import random

FIRST_SECONDS = 0.05
LONGEST_SECONDS = 2.0


class Backoff:
    """Waits that double, with jitter, until so many seconds have passed in all.

    >>> asyncio.run(Backoff(0.0).wait())
    False
    """

    def __init__(self, seconds: float, *, first_seconds: float = FIRST_SECONDS) -> None:
        self._deadline: float | None = None
        self._seconds = seconds
        self._next = first_seconds

    async def wait(self) -> bool:
        """Wait a while; answers False, at once, when the time is over. The first call starts it."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._seconds
        left = self._deadline - now
        if left <= 0:
            return False
        await asyncio.sleep(min(left, self._next * random.uniform(0.5, 1.0)))
        self._next = min(2 * self._next, LONGEST_SECONDS)
        return True
