"""The walks of one engine that are tasks of its loop: which there are, and when none of them works any more."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from ...deferred import asyncio
from .completion import Completion

logger = logging.getLogger("millrace.engine")


class Walks:
    """Counts walks, and tells who waits for the moment when all have ended or wait themselves.

    :param ended: called when a walk has ended
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._tasks: dict[asyncio.Task[None], Completion] = {}
        self._stalls: dict[object, Callable[[], bool]] = {}
        self._idle_waiters: set[asyncio.Future[None]] = set()

    def start(self, walk: Coroutine[Any, Any, None], completion: Completion) -> asyncio.Task[None]:
        """Make a walk a task.

        :param completion: of the event that walks
        """
        task = asyncio.get_running_loop().create_task(walk)
        self._tasks[task] = completion
        task.add_done_callback(self._walked)
        return task

    def _walked(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            logger.error("the engine failed", exc_info=task.exception())
        if self._idle_waiters:
            self._wake_idle()
        self._ended()

    def cancel(self, completion: Completion | None = None) -> None:
        """End all walks, or those of one event. What it shares with others, such as a batch, goes on."""
        for task, one in list(self._tasks.items()):
            if completion is None or one is completion:
                task.cancel()

    @property
    def has_stalls(self) -> bool:
        """Whether a walk waits for a reader or for other walks."""
        return bool(self._stalls)

    @contextlib.contextmanager
    def stalled(self, still: Callable[[], bool]) -> Iterator[None]:
        """While a walk waits for a reader or for other walks, it is not counted as working.

        :param still: whether it does; not so any more when it is about to go on
        """
        mine = object()
        self._stalls[mine] = still
        self._wake_idle()
        try:
            yield
        finally:
            del self._stalls[mine]

    def is_quiet(self, *, wait_for_readers: bool) -> bool:
        """Whether no walk is under way, or only such as wait."""
        return len(self._tasks) <= (0 if wait_for_readers else sum(still() for still in self._stalls.values()))

    def _wake_idle(self) -> None:
        if not self.is_quiet(wait_for_readers=False):
            return
        for waiter in self._idle_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._idle_waiters.clear()

    async def until_quiet(self, *, wait_for_readers: bool) -> None:
        """Wait until no walk is under way, or only such as wait for the readers of streams."""
        while not self.is_quiet(wait_for_readers=wait_for_readers):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle_waiters.add(waiter)
            await waiter
