"""When a process that serves is to stop: by a signal, by the end of its parent, or because it says so."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Waits for a signal. A handler may do little, so it only writes a byte; the waiting thread reads it."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._before: dict[int, object] = {}
        self._count = 0

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._reader.close()
        self._writer.close()

    def wait(self, lifeline: int | None) -> None:
        """Block until a signal comes, or the lifeline ends."""
        select.select([self._reader.fileno(), *([] if lifeline is None else [lifeline])], [], [])

    def request(self) -> None:
        """Stop as if a signal had come; from any thread."""
        self._writer.send(b"!")

    def _request(self, number: int, _: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            os._exit(128 + number)
        self._writer.send(b"!")
