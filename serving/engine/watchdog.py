"""Notices steps that hold the event loop, and says which. It costs events nothing: it looks on from a thread."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType

from .route import AsyncRoute, Route
from .timeout import Timed
from .unit import AsyncUnit, Segment, StepInfo

logger = logging.getLogger("millrace.engine")

BEAT_SECONDS = 0.05
LATE_SECONDS = 0.1
STUCK_SECONDS = 5.0


class Watchdog:
    """Logs, once for each step, that a step held the loop for over 0.1 s, and how long.

    The loop beats; a thread looks at the beat, and where it is late, at what the loop's thread is doing.

    :param loop: the running loop, to be watched from its own thread
    :param now: seconds that only grow
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, now: Callable[[], float] = time.monotonic) -> None:
        self._loop = loop
        self._now = now
        self._beaten = now()
        self._thread_id = threading.get_ident()
        self._stopped = threading.Event()
        self._beat_handle: asyncio.TimerHandle | None = None
        self._suspect: str | None = None
        self._held = 0.0
        self._told: set[str] = set()

    def start(self) -> None:
        """Begin to watch. On the loop."""
        self.beat()
        threading.Thread(target=self._watch, name="millrace-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        if self._beat_handle is not None:
            self._beat_handle.cancel()

    def beat(self) -> None:
        """The loop is alive. On the loop."""
        self._beaten = self._now()
        if not self._stopped.is_set() and not self._loop.is_closed():
            self._beat_handle = self._loop.call_later(BEAT_SECONDS, self.beat)

    def check(self) -> None:
        """Look whether the loop is late. In the thread of the watchdog."""
        late = self._now() - self._beaten - BEAT_SECONDS
        if late >= LATE_SECONDS:
            step = step_on(sys._current_frames().get(self._thread_id))
            if step is not None:
                self._suspect = step
            self._held = late
            if late < STUCK_SECONDS:
                return
        if self._suspect is not None:
            self._tell(self._suspect, self._held + BEAT_SECONDS)
            if late < LATE_SECONDS:
                self._suspect = None

    def _tell(self, step: str, seconds: float) -> None:
        if step not in self._told:
            self._told.add(step)
            logger.warning(
                "step '%s' held the event loop for %d ms; meanwhile nothing else was served: "
                "give it execution='thread' or 'process'",
                step, round(seconds * 1000),
            )  # fmt: skip

    def _watch(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            self.check()


def step_on(frame: FrameType | None) -> str | None:
    """The path of the innermost step that runs on a stack."""
    while frame is not None:
        if frame.f_code in _CODES:
            info = frame.f_locals.get("info")
            if info is None:
                info = getattr(frame.f_locals.get("self"), "info", None)
            return info.path if isinstance(info, StepInfo) else None
        frame = frame.f_back
    return None


_CODES: tuple[CodeType, ...] = (
    Segment.run.__code__, AsyncUnit.run.__code__, Timed.run.__code__, Route.run.__code__, AsyncRoute.run.__code__,
)  # fmt: skip
