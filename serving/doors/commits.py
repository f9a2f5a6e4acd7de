"""When a stream door commits: now and then, sooner when much is done, and before it lets a partition go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from ...queues.base import Consumer
from .share import Share

logger = logging.getLogger("millrace.stream")

LONGEST_PAUSE_SECONDS = 2.0
LAST_COMMIT_SECONDS = 4.0  # a process that is told to stop has 5 s for what comes after its events


class Committer:
    """Commits how far the shares of one door are.

    :param url: of the queue, for the log
    :param most_done: so many messages are done and not committed at most
    :param on_commit: called when a commit went well
    :ivar pending: how many are
    :ivar is_failing: the last one did not
    """

    def __init__(
        self, consumer: Consumer, *, url: str, seconds: float, most_done: int,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.pending = 0
        self.is_failing = False
        self._consumer = consumer
        self._url = url
        self._seconds = seconds
        self._most_done = most_done
        self._on_commit = on_commit
        self._due = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def room(self) -> int:
        """How many messages may become pending now."""
        return self._most_done - self.pending if self.is_failing else self._most_done

    @property
    def is_stuck(self) -> bool:
        """Whether no message may be taken until a commit goes well."""
        return self.room <= 0

    def done(self) -> None:
        """One more message is done."""
        self.pending += 1
        if self.pending * 2 >= self._most_done:
            self._due.set()

    async def keep_up(self, shares: Iterable[Share]) -> None:
        """Hurry when half of what may be pending is, and wait for a commit when all of it is."""
        if self.pending >= self._most_done and not self.is_failing:
            await self._commit_or_warn(shares)
        elif self.pending >= self._most_done // 2:
            self._due.set()

    async def run(self, shares: dict[int, Share]) -> None:
        """Commit now and then, for ever; while commits fail, more and more seldom."""
        pause = self._seconds
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    await self._due.wait()
            except TimeoutError:  # the ordinary case: it is time
                self._due.clear()
            self._due.clear()
            await self._commit_or_warn(shares.values())
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS) if self.is_failing else self._seconds
            if self.is_failing:
                await asyncio.sleep(pause)

    async def _commit_or_warn(self, shares: Iterable[Share]) -> None:
        """Commit; what fails is tried again with the next one, and said once."""
        try:
            await self.commit(shares)
        except Exception as error:
            if not self.is_failing:
                logger.warning(
                    "%s: commits fail and are tried again; no messages are taken when %d are done: %s",
                    self._url, self._most_done, error,
                )  # fmt: skip
            self.is_failing = True
        else:
            if self.is_failing:
                logger.warning("%s: commits work again", self._url)
            self.is_failing = False

    async def commit(self, shares: Iterable[Share]) -> None:
        """Commit what has moved.

        :raises Exception: the backend's; nothing is lost, and what was done may come again
        """
        async with self._turn:
            moved = [(share, share.marks.commit) for share in shares]
            moved = [(share, commit) for share, commit in moved if commit != share.committed]
            counted = self.pending
            if moved:
                await self._consumer.commit({share.partition: commit for share, commit in moved})
            self.pending = max(0, self.pending - counted)
            for share, commit in moved:
                share.committed = commit
        self._on_commit()

    async def commit_at_end(self, shares: Iterable[Share]) -> None:
        """Commit for the last time; what fails is said, as nothing can be done about it any more."""
        try:
            async with asyncio.timeout(LAST_COMMIT_SECONDS):
                await self.commit(shares)
        except Exception as error:
            why = str(error) or f"no answer after {LAST_COMMIT_SECONDS:g} s"
            logger.error("%s: the last commit failed; what it names will come again: %s", self._url, why)
