"""A gate that lets so many in at a time, for threads and coroutines alike."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable


class Gate:
    """Bounds what is inside, first come first served.

    :param limit: how many may be inside at a time

    >>> gate = Gate(1)
    >>> gate.try_enter(), gate.try_enter(), gate.inside
    (True, False, 1)
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inside = 0
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], bool]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait to get in."""
        return len(self._waiting)

    def try_enter(self) -> bool:
        """Go in if there is room and nobody waits."""
        with self._lock:
            if self.inside >= self.limit or self._waiting:
                return False
            self.inside += 1
            return True

    def enter(self) -> None:
        """Go in; block the thread until there is room."""
        if self.try_enter():
            return
        turn = threading.Event()

        def admit() -> bool:
            turn.set()
            return True

        self._queue(admit)
        turn.wait()

    async def enter_async(self) -> None:
        """Go in; wait until there is room."""
        if self.try_enter():
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        admitted = False

        def admit() -> bool:
            nonlocal admitted
            if turn.cancelled() or loop.is_closed():
                return False
            admitted = True
            loop.call_soon_threadsafe(lambda: turn.done() or turn.set_result(None))
            return True

        self._queue(admit)
        try:
            await turn
        except asyncio.CancelledError:
            if admitted:
                self.leave()
            raise

    def leave(self) -> None:
        """Go out; who waits longest goes in."""
        with self._lock:
            self.inside -= 1
            self._admit()

    def _queue(self, admit: Callable[[], bool]) -> None:
        with self._lock:
            self._waiting.append(admit)
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self.inside < self.limit:
            if self._waiting.popleft()():
                self.inside += 1
