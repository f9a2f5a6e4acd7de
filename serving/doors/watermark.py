"""Which messages of a partition are done: the watermark of contiguous completed offsets, and what is done beyond it."""

from __future__ import annotations

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

    __slots__ = ("_done_before", "_next", "_open")

    def __init__(self, commit: Commit) -> None:
        self._next = commit.watermark
        self._done_before = set(commit.done)
        self._open: dict[int, bool] = {}  # delivered offsets from the first that is not done; whether they are done

    def deliver(self, offset: int) -> bool:
        """A message comes in; whether it is to be run: not when it was done before a restart, or came already."""
        if offset < self._next:
            return False
        self._next = offset + 1
        if self._done_before:
            was_done = offset in self._done_before
            self._done_before = {one for one in self._done_before if one > offset}
            if was_done:
                if self._open:
                    self._open[offset] = True
                return False
        self._open[offset] = False
        return True

    def finish(self, offset: int) -> None:
        """A message is done: run, dead-lettered or skipped."""
        open_ = self._open
        if offset not in open_:
            return
        open_[offset] = True
        while open_:
            first = next(iter(open_))
            if not open_[first]:
                return
            del open_[first]

    @property
    def is_clear(self) -> bool:
        """Whether all that was delivered is done, and nothing beyond it."""
        return not self._open and not self._done_before

    def pass_to(self, offset: int) -> None:
        """All before an offset is done; only while it :attr:`is_clear`."""
        self._next = offset

    @property
    def commit(self) -> Commit:
        """What may be committed, and never more: the first offset that is not done, and what is done beyond it."""
        watermark = next(iter(self._open), self._next)
        done = {offset for offset, is_done in self._open.items() if is_done} | self._done_before
        return Commit(watermark, frozenset(done))

    @property
    def position(self) -> int:
        """The offset that is expected next."""
        return self._next
