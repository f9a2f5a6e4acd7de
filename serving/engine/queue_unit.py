"""The unit of a queue step: writes the event to a stream; what reads there is another entry of the graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ...queues.message import Message
from .event import Event
from .messages import to_message
from .unit import TAKEN, StepInfo, Unit, failed, faults

if TYPE_CHECKING:
    from .engine import Engine

Confirmed = Callable[[Exception | None], None]
"""Called once: with ``None`` when a message is safe, or with what kept it from being written."""


class Stream(Protocol):
    """What a queue unit needs of a stream."""

    def put(self, message: Message, confirmed: Confirmed) -> None:
        """Write a message behind those before it. On the engine's loop, where `confirmed` is called too."""


class QueueUnit(Unit):
    """Hands every event to a stream, and ends it when the write is confirmed.

    Messages are written in the order in which their events come, so that others may follow before the confirmation.
    """

    __slots__ = ("full_event", "stream")

    def __init__(self, info: StepInfo, stream: Stream, *, full_event: bool) -> None:
        super().__init__(info)
        self.stream = stream
        self.full_event = full_event

    def run(self, engine: Engine, event: Event, body: Any) -> Any:
        completion = event._completion
        assert completion is not None  # noqa: S101 - every event that walks has one
        try:
            message = to_message(event, body, full_event=self.full_event, queue=self.info.name)
        except faults() as error:
            failed(event, body, self.info, error)
        completion.writing += 1
        self.stream.put(message, partial(self._confirmed, engine, event, body))
        if completion.is_parked:
            completion.parked()
        return TAKEN

    def _confirmed(self, engine: Engine, event: Event, body: Any, error: Exception | None) -> None:
        completion = event._completion
        assert completion is not None  # noqa: S101 - it was there when the message was written
        completion.writing -= 1
        if error is not None:
            event.body, event._failed = body, self.info
            catcher = engine.caught(event, error)
            if catcher is not None:
                engine.spawn(catcher, event, event.body)
                return
        completion.release()
