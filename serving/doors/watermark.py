"""Which messages of a partition are done: the watermark of contiguous completed offsets, and what is done beyond it."""

from __future__ import annotations

from collections import OrderedDict

from ...queues.base import Commit


class Watermark:
    """Keeps, for one partition, what was delivered and what of it is done.

    Offsets may have holes (transactions, compaction): the watermark passes over offsets that were never delivered.

    :param commit: how far the group was before

    >>> marks = Watermark(Commit(5))
    >>> for offset in (5, 6, 9):
    ...     _ = marks.deliver(offset)
    >>> marks.finish(6)
    >>> marks.commit
    Commit(watermark=5, done=frozenset({6}))
    >>> marks.finish(5)
    >>> marks.commit
    Commit(watermark=9, done=frozenset())
    """

    def __init__(self, commit: Commit) -> None:
        self._next = commit.watermark
        self._skipped = set(commit.done)
        self._open: OrderedDict[int, bool] = OrderedDict()

    def deliver(self, offset: int) -> bool:
        """A message comes in; whether it is to be run: not when it was done before a restart, or came already."""
        if offset in self._skipped:
            self._skipped.discard(offset)
            self._open[offset] = True
            self._next = max(self._next, offset + 1)
            self._advance()
            return False
        if offset < self._next:
            return False
        self._open[offset] = False
        self._next = offset + 1
        return True

    def finish(self, offset: int) -> None:
        """A message is done: run, dead-lettered or skipped."""
        if offset in self._open:
            self._open[offset] = True
            self._advance()

    def _advance(self) -> None:
        while self._open:
            offset, done = next(iter(self._open.items()))
            if not done:
                return
            del self._open[offset]

    @property
    def commit(self) -> Commit:
        """What may be committed, and never more: the first offset that is not done, and what is done beyond it."""
        if not self._open:
            return Commit(self._next, frozenset(self._skipped))
        done = frozenset(offset for offset, finished in self._open.items() if finished)
        return Commit(next(iter(self._open)), done | self._skipped)

    @property
    def in_flight(self) -> int:
        """How many delivered messages are not done."""
        return sum(not done for done in self._open.values())
