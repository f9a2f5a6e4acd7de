"""The time limit of an async step: kept whatever the step does, also if it takes no notice of being cancelled."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ...deferred import asyncio
from ...errors import StepTimeout
from .unit import StepInfo, faults

if TYPE_CHECKING:
    from asyncio import Task

logger = logging.getLogger("millrace.engine")

GRACE_SECONDS = 1.0
"""How long a step may clean up after it was cancelled, before the log says that it goes on."""


def took_longer(path: str, seconds: float) -> StepTimeout:
    """The error of a step whose time is over."""
    return StepTimeout(f"step '{path}' took longer than {seconds:g} s (timeout_seconds)")


class Timed:
    """An async step with a time limit.

    The step runs in a task of its own. When the time is over, or nobody waits any more, the task is cancelled and not
    waited for.

    :param fn: the step
    :ivar left: the tasks that were cancelled and have not ended
    """

    def __init__(self, fn: Callable[[Any], Awaitable[Any]], seconds: float, path: str) -> None:
        self.info = StepInfo(path.rpartition("/")[2], path, "")  # the watchdog looks for it
        self.left: set[Task[Any]] = set()
        self._fn = fn
        self._seconds = seconds
        self._is_told = False

    async def __call__(self, value: Any) -> Any:
        task = asyncio.get_running_loop().create_task(self.run(value))
        try:
            await asyncio.wait([task], timeout=self._seconds)
        finally:
            if not task.done():
                self._abandon(task)
        if not task.done():
            raise took_longer(self.info.path, self._seconds)
        result, error = task.result()
        if error is not None:
            raise error
        return result

    async def run(self, value: Any) -> tuple[Any, BaseException | None]:
        """The step's result or error; what would end the loop, such as ``SystemExit``, must not leave the task."""
        try:
            return await self._fn(value), None
        except faults() as error:
            return None, error

    def _abandon(self, task: Task[Any]) -> None:
        task.cancel()
        self.left.add(task)  # the loop keeps only weak references
        task.add_done_callback(self.left.discard)
        if not self._is_told:
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._look_after, task)

    def _look_after(self, task: Task[Any]) -> None:
        if not task.done() and not self._is_told:
            self._is_told = True
            logger.warning(
                "step '%s' goes on after its time (timeout_seconds) though it was cancelled; it should let "
                "asyncio.CancelledError pass", self.info.path,
            )  # fmt: skip
