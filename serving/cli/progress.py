"""How far a long command is: one line on stderr that changes, only on a terminal."""

from __future__ import annotations

import sys
import time

EVERY_SECONDS = 0.2


class Progress:
    """Counts up to a total.

    :param what: what is counted
    :param total: how many there are to be

    >>> with Progress("messages copied", total=3) as progress:  # not on a terminal: says nothing
    ...     progress(3)
    """

    def __init__(self, what: str, *, total: int) -> None:
        self._what, self._total = what, total
        self._is_shown = sys.stderr.isatty()
        self._next = 0.0

    def __enter__(self) -> Progress:
        return self

    def __call__(self, done: int) -> None:
        """Say how many are done."""
        if not self._is_shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY_SECONDS
        share = f" of {self._total:,} ({100 * done // self._total} %)" if self._total else ""
        print(f"\r\x1b[K{done:,}{share} {self._what}", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self._next:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
