"""When a stream door commits: now and then, sooner when much is done, and before it lets a partition go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from ...queues.base import Consumer
from .share import Share

logger = logging.getLogger("millrace.stream")


class Committer:
    """Commits how far the shares of one door are.

    :param url: of the queue, for the log
    :param most_done: so many messages are done and not committed at most
    :ivar pending: how many are
    """

    def __init__(self, consumer: Consumer, *, url: str, seconds: float, most_done: int) -> None:
        self.pending = 0
        self._consumer = consumer
        self._url = url
        self._seconds = seconds
        self._most_done = most_done
        self._due = asyncio.Event()
        self._turn = asyncio.Lock()

    async def keep_up(self, shares: Iterable[Share]) -> None:
        """Hurry when half of what may be pending is, and wait when all of it is."""
        if self.pending >= self._most_done:
            await self.commit_or_warn(shares)
        elif self.pending >= self._most_done // 2:
            self._due.set()

    async def run(self, shares: dict[int, Share]) -> None:
        """Commit now and then, for ever."""
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    await self._due.wait()
            except TimeoutError:  # the ordinary case: it is time
                self._due.clear()
            self._due.clear()
            await self.commit_or_warn(shares.values())

    async def commit_or_warn(self, shares: Iterable[Share]) -> None:
        """Commit; what fails is tried again with the next one."""
        try:
            await self.commit(shares)
        except Exception as error:
            logger.warning("%s: the commit failed and will be tried again: %s", self._url, error)
            await asyncio.sleep(self._seconds)

    async def commit(self, shares: Iterable[Share]) -> None:
        """Commit what has moved.

        :raises Exception: the backend's; nothing is lost, and what was done may come again
        """
        async with self._turn:
            moved = [(share, share.marks.commit) for share in shares]
            moved = [(share, commit) for share, commit in moved if commit != share.committed]
            if not moved:
                return
            counted = self.pending
            await self._consumer.commit({share.partition: commit for share, commit in moved})
            self.pending = max(0, self.pending - counted)
            for share, commit in moved:
                share.committed = commit
