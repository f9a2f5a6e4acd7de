"""How an event from a stream ends: nobody waits for its answer, but its message is done only when it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .completion import Completion
from .stream import StreamAnswer


class Intake(Completion):
    """The completion of an event from a stream: nobody waits for its answer, but how it ends is told.

    :param on_end: called once, with what failed, or ``None``, when nothing of the event is alive any more
    :param on_park: called whenever all that is alive is held by batches and joins, so that others may follow
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
        if self.on_park is not None and self.pending and self.pending == self.held:
            self.on_park()

    def _ended(self, _: Completion) -> None:
        if self.left is not None:
            self.left(self)
        self.on_end(self.error)


def _forget(body: Any, error: BaseException | None) -> None:
    """Nobody reads the answer; the generator behind a stream ends."""
    if isinstance(body, StreamAnswer):
        body.close()
