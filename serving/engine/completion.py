"""The completion of an event: what of it is still alive, and the one answer to its caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...steps.base import DROPPED

Deliver = Callable[[Any, BaseException | None], None]


class Completion:
    """Counts the descendants of one input event; at zero the event is done, exactly once.

    :param deliver: called once with the answer or the error that the caller gets
    :param finish: called once when nothing of the event is alive any more
    :ivar pending: descendants alive: walking, held by a batch or join, or waiting for a queue's confirmation
    :ivar joining: those of them that wait in a join for the others

    >>> done = []
    >>> completion = Completion(lambda answer, error: done.append(answer), lambda completion: done.append("done"))
    >>> completion.answer(1)
    >>> completion.release()
    >>> done
    [1, 'done']
    """

    __slots__ = ("answered", "deliver", "failed", "finish", "joining", "orphaned", "pending")

    def __init__(
        self,
        deliver: Deliver,
        finish: Callable[[Completion], None],
        orphaned: Callable[[Completion], None] | None = None,
    ) -> None:
        self.deliver = deliver
        self.finish = finish
        self.orphaned = orphaned
        self.pending = 1
        self.joining = 0
        self.answered = False
        self.failed = False

    def answer(self, body: Any) -> None:
        """Give the caller the answer, if it has none yet."""
        if not self.answered:
            self.answered = True
            self.deliver(body, None)

    def fail(self, error: BaseException) -> bool:
        """Give the caller the error, if it has no answer yet; whether it went there."""
        self.failed = True
        if self.answered:
            return False
        self.answered = True
        self.deliver(None, error)
        return True

    def hold(self, count: int = 1) -> None:
        """Further descendants are alive."""
        self.pending += count

    def release(self) -> None:
        """One descendant has ended."""
        self.pending -= 1
        if self.pending == 0:
            self.answer(DROPPED)
            self.finish(self)
        elif self.pending == self.joining and self.orphaned is not None:
            self.orphaned(self)


class JointCompletion(Completion):
    """The completion of an event made of several: its end is the end of one descendant of each."""

    __slots__ = ("parents",)

    def __init__(self, parents: list[Completion]) -> None:
        super().__init__(self._deliver_to_all, self._finish_all, self._orphan_all)
        self.parents = parents

    def _deliver_to_all(self, body: Any, error: BaseException | None) -> None:
        if error is not None:
            for parent in self.parents:
                parent.fail(error)
        elif body is not DROPPED:
            for parent in self.parents:
                parent.answer(body)

    def _finish_all(self, _: Completion) -> None:
        for parent in self.parents:
            parent.release()

    def _orphan_all(self, _: Completion) -> None:
        """A batch's event waits in a join for branches that ended: the join lets it go by its own time limit."""
