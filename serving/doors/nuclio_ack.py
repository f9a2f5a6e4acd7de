"""Acknowledging offsets to Nuclio: of each partition the highest that may be committed, some times a second."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ..engine.clock import Clock, Timer
from .share import Share

logger = logging.getLogger("millrace.stream")

Place = tuple[str, int]
"""A topic and a partition."""

CONTROL_MESSAGE = "Sending data on control socket"


class Acks:
    """Sends what the watermarks of partitions allow.

    Nuclio takes an acknowledged offset for that offset and all before it, and only forwards. An acknowledgement costs
    more than an event, so many offsets share one.

    :param platform: of the wrapper's context, with ``explicit_ack``
    :param seconds: how long an offset may wait
    :ivar sent: how many were sent
    """

    def __init__(self, platform: Any, *, clock: Clock, seconds: float) -> None:
        self.sent = 0
        self._platform = platform
        self._clock = clock
        self._seconds = seconds
        self._moved: dict[Place, Share] = {}
        self._sending = asyncio.Lock()
        self._timer: Timer | None = None
        self._due = 0.0
        self._task: asyncio.Task[None] | None = None
        quiet_wrapper()

    def moved(self, place: Place, share: Share) -> None:
        """Something of a partition is done; it is acknowledged soon."""
        self._moved[place] = share
        if self._timer is None:
            self._due = self._clock.now() + self._seconds
            self._timer = self._clock.call_later(self._seconds, self._begin)

    def forget(self, place: Place) -> None:
        """A partition is not ours any more."""
        self._moved.pop(place, None)

    @property
    def is_due(self) -> bool:
        """Whether something has waited long enough; asked where the wrapper's loop runs only while a handler does."""
        return self._timer is not None and self._clock.now() >= self._due

    async def flush_if_due(self) -> None:
        """Send what has waited long enough."""
        if self.is_due:
            await self.flush()

    async def flush(self) -> None:
        """Send what may be committed now. What can not be sent is tried again later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        async with self._sending:
            moved, self._moved = self._moved, {}
            for place, share in moved.items():
                commit = share.marks.commit
                if commit.watermark <= share.committed.watermark:
                    continue
                try:
                    await self._send(place, commit.watermark - 1)
                except Exception as error:
                    logger.warning("%s partition %d: offset %d could not be acknowledged, and will be tried again: %s",
                                   *place, commit.watermark - 1, error)  # fmt: skip
                    self.moved(place, share)
                else:
                    share.committed = commit
                    self.sent += 1

    async def _send(self, place: Place, offset: int) -> None:
        from nuclio_sdk import QualifiedOffset  # noqa: PLC0415 - it is there where Nuclio runs us

        await self._platform.explicit_ack(QualifiedOffset(*place, offset))

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self.flush())


class _WithoutControlMessages(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.msg != CONTROL_MESSAGE


_filter = _WithoutControlMessages()


def quiet_wrapper() -> None:
    """Keep the wrapper from logging each acknowledgement.

    It writes its log to the socket that answers go by, at once: a line in the midst of a long answer breaks it.
    """
    wrapper = logging.getLogger("nuclio_sdk")
    if _filter not in wrapper.filters:
        wrapper.addFilter(_filter)
