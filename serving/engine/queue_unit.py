"""The unit of a queue step: writes the event to a stream; what reads there is another entry of the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ...queues.message import Message
from ...steps.base import DROPPED
from .event import Event
from .messages import to_message
from .unit import StepInfo, Unit, failed, faults

if TYPE_CHECKING:
    from .engine import Engine


class Stream(Protocol):
    """What a queue unit needs of a stream."""

    async def append(self, message: Message) -> Message:
        """Return when the message is safe."""


class QueueUnit(Unit):
    """Writes every event to a stream and ends it when the write is confirmed.

    Events that are handed to the stream are written in that order, so that others may follow before the confirmation.
    """

    __slots__ = ("full_event", "stream")

    def __init__(self, info: StepInfo, stream: Stream, *, full_event: bool) -> None:
        super().__init__(info)
        self.stream = stream
        self.full_event = full_event
        self.is_async = True

    async def run(self, engine: Engine, event: Event, body: Any) -> Any:
        completion = event._completion
        assert completion is not None  # noqa: S101 - every event that walks has one
        completion.writing += 1
        try:
            message = to_message(event, body, full_event=self.full_event, queue=self.info.name)
            if completion.is_parked:
                completion.parked()  # who waits for that goes on when the append below has begun
            await self.stream.append(message)
        except faults() as error:
            failed(event, body, self.info, error)
        finally:
            completion.writing -= 1
        return DROPPED
