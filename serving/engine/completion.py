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
    :param orphaned: called when all that is alive waits in joins for other parts of the event
    :param part: the caller is a step of the same graph, which will report the error
    :ivar pending: descendants alive: walking, held by a batch or join, or waiting for a queue's confirmation
    :ivar held: those of them that a batch or join keeps
    :ivar joining: those of them that wait in a join for the others
    :ivar writing: descendants that were handed to a stream, in their turn, and are not confirmed yet
    :ivar failed: an error of the event went to its caller or was reported
    :ivar caught: a catcher took an error of the event

    >>> done = []
    >>> completion = Completion(lambda answer, error: done.append(answer), lambda completion: done.append("done"))
    >>> completion.answer(1)
    >>> completion.release()
    >>> done
    [1, 'done']
    """

    __slots__ = (
        "answered", "caught", "deliver", "failed", "finish", "held", "joining", "orphaned", "part", "pending",
        "writing",
    )  # fmt: skip

    def __init__(
        self,
        deliver: Deliver,
        finish: Callable[[Completion], None],
        orphaned: Callable[[Completion], None] | None = None,
        *,
        part: bool = False,
    ) -> None:
        self.deliver = deliver
        self.finish = finish
        self.orphaned = orphaned
        self.part = part
        self.pending = 1
        self.held = 0
        self.joining = 0
        self.writing = 0
        self.answered = False
        self.failed = False
        self.caught = False

    @property
    def awaited(self) -> bool:
        """Whether a caller still waits for an answer."""
        return not self.answered

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
        elif self.pending == self.held + self.writing:
            self.parked()

    @property
    def is_parked(self) -> bool:
        """Whether all that is alive is held by batches and joins, or on its way into a stream: others may follow."""
        return 0 < self.pending == self.held + self.writing

    def parked(self) -> None:
        """It :attr:`is_parked` now."""
        if self.joining and self.pending == self.joining and self.orphaned is not None:
            self.orphaned(self)


class JointCompletion(Completion):
    """The completion of an event made of several: its end is the end of one descendant of each."""

    __slots__ = ("parents",)

    def __init__(
        self,
        parents: list[Completion],
        orphaned: Callable[[Completion], None] | None,
        finish: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__(_not_delivered, finish or release_parents, orphaned, part=parents[0].part)
        self.parents = parents

    @property
    def awaited(self) -> bool:
        """Whether any of the callers still waits."""
        return any(parent.awaited for parent in self.parents)

    def answer(self, body: Any) -> None:
        """Give all callers the answer; that this event was dropped says nothing about the rest of theirs."""
        if not self.answered and body is not DROPPED:
            self.answered = True
            for parent in self.parents:
                parent.answer(body)

    def fail(self, error: BaseException) -> bool:
        """Give the error to the callers that have no answer yet; whether there was one."""
        self.failed = True
        return any([parent.fail(error) for parent in self.parents])


def release_parents(joint: Any) -> None:
    """One descendant of each parent has ended."""
    for parent in joint.parents:
        parent.release()


def _not_delivered(body: Any, error: BaseException | None) -> None:
    """A joint completion hands answers to its parents."""
