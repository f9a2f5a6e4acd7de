"""Things that a process has once per path, shared by all who use them, and made anew after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from ..errors import Conflict


class Closing(Protocol):
    """What can be shared."""

    def close(self) -> None:
        """Called when the last user is gone."""


T = TypeVar("T", bound=Closing)


class Shared(Generic[T]):
    """A register of open things by path.

    >>> class Thing:
    ...     def close(self) -> None:
    ...         print("closed")
    >>> things = Shared[Thing]()
    >>> first = things.acquire(Path("/a"), Thing, settings=1)
    >>> first is things.acquire(Path("/a"), Thing, settings=1)
    True
    >>> things.release(Path("/a"))
    >>> things.release(Path("/a"))
    closed
    """

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Path, tuple[T, object, int]] = {}

    def acquire(self, path: Path, make: Callable[[], T], *, settings: object) -> T:
        """The thing of a path, made when there is none.

        :raises Conflict: it is open with other settings
        """
        path = path.resolve()
        with self._lock:
            thing, present, users = self._open.get(path, (None, settings, 0))
            if thing is None:
                thing = make()
            elif present != settings:
                raise Conflict(
                    f"{path} is open in this process with {present}, and now asked for with {settings}: "
                    "close the first queue before, or open both with the same options"
                )
            self._open[path] = (thing, settings, users + 1)
            return thing

    def release(self, path: Path) -> None:
        """One user less; the last one closes it."""
        path = path.resolve()
        with self._lock:
            if path not in self._open:  # opened before a fork
                return
            thing, settings, users = self._open.pop(path)
            if users > 1:
                self._open[path] = (thing, settings, users - 1)
                return
            thing.close()
