"""When a process that serves is to stop: by a signal, by the end of its parent, or because it says so."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from types import FrameType

EXTRA_SECONDS = 5.0
"""How much longer than its events a process may take to end."""


def stop_signals() -> list[signal.Signals]:
    """The signals that ask a process to stop.

    SIGHUP is one: it comes when the terminal closes, often twice, and nobody is there to ask for more haste. Under
    ``nohup`` it is ignored.
    """
    found = [signal.SIGTERM, signal.SIGINT]
    hang_up = getattr(signal, "SIGHUP", None)  # not on Windows
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        found.append(hang_up)
    return found


def is_hasty(number: int) -> bool:
    """Whether a signal that comes after another ends the process at once."""
    return number in (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Waits for a signal. A handler may do little, so it only writes a byte; the waiting thread reads it.

    A second signal ends the process at once.

    :param drain_seconds: how long the process may take to end after its parent has, who would else see to it
    """

    def __init__(self, drain_seconds: float | None = None) -> None:
        self._reader, self._writer = socket.socketpair()
        self._before: dict[int, object] = {}
        self._count = 0
        self._drain_seconds = drain_seconds
        self._last: threading.Timer | None = None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in stop_signals():
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._last is not None:
            self._last.cancel()
        self._reader.close()
        self._writer.close()

    def wait(self, lifeline: int | None) -> None:
        """Block until a signal comes, or the lifeline ends."""
        watched = [self._reader.fileno(), *([] if lifeline is None else [lifeline])]
        ready, _, _ = select.select(watched, [], [])
        if lifeline in ready and self._drain_seconds is not None:
            # A step that blocks the loop for good would keep the orphan alive for ever.
            self._last = threading.Timer(self._drain_seconds + EXTRA_SECONDS, os._exit, (1,))
            self._last.daemon = True
            self._last.start()

    def request(self) -> None:
        """Stop as if a signal had come; from any thread."""
        try:
            self._writer.send(b"!")
        except OSError:  # it has stopped
            return

    def _request(self, number: int, _: FrameType | None) -> None:
        self._count += 1
        if self._count > 1 and is_hasty(number):
            os._exit(128 + number)
        self._writer.send(b"!")
