"""Messages that failed: tried again after a pause, and dealt with, without one overtaking another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

from ...queues.message import Message
from ..engine.clock import Clock, sleep
from .ladder import Ladder, PartitionLost
from .share import Share

Again = Callable[[Share, Message], Awaitable[BaseException | None]]


class Mender:
    """Takes messages that failed up the ladder.

    :param again: runs a message once more; what failed, or ``None``
    :param in_order: messages of a partition stay in order, so that only one of them is tried again at a time
    """

    def __init__(self, ladder: Ladder, clock: Clock, again: Again, *, in_order: bool) -> None:
        self._ladder = ladder
        self._clock = clock
        self._again = again
        self._in_order = in_order

    async def mend(self, share: Share, message: Message, error: BaseException) -> BaseException | None:
        """Deal with a message that failed; what it is that can not be dealt with."""
        async with share.repair if self._in_order else nullcontext():
            try:
                return await self._ladder.climb(
                    message, error, lambda again: self._again(share, again), lambda seconds: self._wait(share, seconds)
                )
            except PartitionLost as lost:
                return lost

    async def _wait(self, share: Share, seconds: float) -> None:
        """Pause before a retry; not when the partition goes meanwhile."""
        sleeping = asyncio.ensure_future(sleep(self._clock, seconds))
        going = asyncio.ensure_future(share.gone.wait())
        try:
            await asyncio.wait([sleeping, going], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            going.cancel()
        if share.is_revoked:
            raise PartitionLost
