"""A gate that lets so many in at a time, for threads and coroutines alike."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ...deferred import asyncio
from ...errors import Draining


class Gate:
    """Bounds what is inside, first come first served.

    :param limit: how many may be inside at a time
    :ivar entered: how many have ever gone in

    >>> gate = Gate(1)
    >>> gate.try_enter(), gate.try_enter(), gate.inside
    (True, False, 1)
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inside = 0
        self.entered = 0
        self._lock = threading.Lock()
        self._waiting: deque[_Place] = deque()
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many wait to get in."""
        return len(self._waiting)

    def try_enter(self) -> bool:
        """Go in if there is room and nobody waits."""
        with self._lock:
            if self.inside >= self.limit or self._waiting or self._closed:
                return False
            self.inside += 1
            self.entered += 1
            return True

    def force(self) -> None:
        """Go in, whether there is room or not: for what was inside already and only was not counted."""
        with self._lock:
            self.inside += 1
            self.entered += 1

    def enter(self) -> None:
        """Go in; block the thread until there is room.

        :raises Draining: the gate was closed
        """
        if self.try_enter():
            return
        turn = threading.Event()
        place = _Place(turn.set)
        self._queue(place)
        try:
            turn.wait()
        except BaseException:
            self._give_up(place)
            raise
        place.check()

    async def enter_async(self) -> None:
        """Go in; wait until there is room.

        :raises Draining: the gate was closed
        """
        if self.try_enter():
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        place = _Place(lambda: loop.call_soon_threadsafe(_settle, turn))
        self._queue(place)
        try:
            await turn
        except BaseException:
            self._give_up(place)
            raise
        place.check()

    def leave(self) -> None:
        """Go out; who waits longest goes in."""
        with self._lock:
            self.inside -= 1
            self._admit()

    def close(self) -> None:
        """Let nobody in any more; who waits gets :class:`~millrace.errors.Draining`."""
        with self._lock:
            self._closed = True
            while self._waiting:
                self._waiting.popleft().wake()

    def _queue(self, place: _Place) -> None:
        with self._lock:
            if self._closed:
                raise Draining
            self._waiting.append(place)
            self._admit()

    def _give_up(self, place: _Place) -> None:
        # Under the lock, or a place could be given to one who has just gone away, and stay taken for ever.
        with self._lock:
            if place.admitted:
                self.inside -= 1
                self._admit()
            elif place in self._waiting:
                self._waiting.remove(place)

    def _admit(self) -> None:
        while self._waiting and self.inside < self.limit:
            place = self._waiting.popleft()
            place.admitted = True  # before it wakes, for then it looks
            if place.wake():
                self.inside += 1
                self.entered += 1
            else:
                place.admitted = False


class _Place:
    """One who waits."""

    __slots__ = ("_call", "admitted")

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self.admitted = False

    def wake(self) -> bool:
        """Whether somebody is there to be woken: the loop of a coroutine may be closed."""
        try:
            self._call()
        except RuntimeError:
            return False
        return True

    def check(self) -> None:
        if not self.admitted:
            raise Draining


def _settle(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
