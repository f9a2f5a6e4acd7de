"""Completions of events whose answer is that they are done: those from a stream, and those on their way to one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .completion import Completion, Deliver
from .stream import StreamAnswer


class Acceptance(Completion):
    """The completion of an event that has no answer of its own but is written to a stream.

    Its caller is told the event's id when all of it is done, which is when every write is confirmed, or when what is
    left waits in a batch for others. So an event that was accepted is safe, and one that fails before is an error.
    """

    __slots__ = ("event_id",)

    def __init__(
        self, event_id: str, deliver: Deliver, finish: Callable[[Completion], None],
        orphaned: Callable[[Completion], None],
    ) -> None:  # fmt: skip
        super().__init__(deliver, finish, orphaned)
        self.event_id = event_id

    def answer(self, body: Any) -> None:
        """Give the caller the id."""
        super().answer({"id": self.event_id})

    def parked(self) -> None:
        """What is left waits for others."""
        super().parked()
        if self.pending and self.pending == self.held:
            self.answer(None)


class Intake(Completion):
    """The completion of an event from a stream: nobody waits for its answer, but how it ends is told.

    :param on_end: called once, with what failed, or ``None``, when nothing of the event is alive any more
    :param on_park: called whenever all that is alive is held or on its way into a stream, so that others may follow
    :ivar error: what failed first and was not caught
    """

    __slots__ = ("error", "left", "on_end", "on_park")

    def __init__(
        self, on_end: Callable[[BaseException | None], None], on_park: Callable[[], None] | None = None
    ) -> None:
        super().__init__(_forget, self._ended, part=True)
        self.on_end = on_end
        self.on_park = on_park
        self.error: BaseException | None = None
        self.left: Callable[[Completion], None] | None = None

    def connect(self, left: Callable[[Completion], None], orphaned: Callable[[Completion], None]) -> None:
        """Be counted by an engine.

        :param left: called when the event is done
        """
        self.left, self.orphaned = left, orphaned

    @property
    def awaited(self) -> bool:
        """Always: the stream's reader wants to know of every error."""
        return True

    def fail(self, error: BaseException) -> bool:
        """Keep the first error."""
        self.failed = True
        self.error = self.error or error
        return True

    def parked(self) -> None:
        """Let others follow."""
        super().parked()
        if self.on_park is not None and self.is_parked:
            self.on_park()

    def _ended(self, _: Completion) -> None:
        if self.left is not None:
            self.left(self)
        self.on_end(self.error)


def _forget(body: Any, error: BaseException | None) -> None:
    """Nobody reads the answer; the generator behind a stream ends."""
    if isinstance(body, StreamAnswer):
        body.close()
