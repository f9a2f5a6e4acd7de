"""A request that the handler waits for, no longer than the time limit."""

from __future__ import annotations

import asyncio
from typing import Any

from .http_deadlines import Deadlines
from .http_door import Door, drop
from .http_request import RequestEvent


class Exchange:
    """One event on its way through the graph, and its answer. On the engine's loop.

    All share one timer: :func:`asyncio.timeout` makes one for each, which costs more than a plain graph.
    """

    __slots__ = ("_answer", "_door", "_event", "deadline")

    deadline: float

    def __init__(self, door: Door, event: RequestEvent) -> None:
        self._door = door
        self._event = event
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def answered(self, deadlines: Deadlines) -> Any:
        """Run the event and wait for its answer.

        :raises StepTimeout: there is none in time; what works on it is stopped
        """
        self._door.begin(self._event, self._deliver)
        if self._answer.done():
            return self._answer.result()
        deadlines.add(self)
        try:
            return await self._answer
        finally:
            deadlines.discard(self)

    def expire(self) -> None:
        """The time is over."""
        if not self._answer.done():
            self._answer.set_exception(self._door.late())
        self._door.engine.abandon(self._event)

    def _deliver(self, body: Any, error: BaseException | None) -> None:
        if self._answer.done():
            drop(body)
        elif error is not None:
            self._answer.set_exception(self._door.stopped(error))
        else:
            self._answer.set_result(body)
