"""Waking the consumers of other processes: a datagram to each one's socket, in a directory that they share.

A bell that is not heard costs a little time and nothing else: consumers also look by themselves now and then.
Where there are no such sockets (Windows, some network file systems) they look more often.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from pathlib import Path
from typing import Self

SAFETY_POLL_SECONDS = 0.25
POLL_WITHOUT_BELL_SECONDS = 0.005
SUFFIX = ".sock"
HAS_SOCKETS = hasattr(socket, "AF_UNIX") and os.name == "posix"


class _Folder:
    """A directory of sockets, under a name that fits into the 108 bytes (104 on macOS) of a socket address."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        through = f"/proc/self/fd/{self._descriptor}"
        self._prefix = through if Path(through).is_dir() else str(path)

    def address(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def close(self) -> None:
        os.close(self._descriptor)


class Bell:
    """Hears the rings of a directory, on one event loop.

    >>> import tempfile
    >>> async def main(folder: Path) -> bool:
    ...     with Bell(folder, asyncio.get_running_loop()) as bell, Ringer(folder) as ringer:
    ...         rings = bell.rings
    ...         ringer.ring()
    ...         await bell.wait(rings, timeout_seconds=5)
    ...         return bell.rings > rings
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     asyncio.run(main(Path(folder)))
    True
    """

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.rings = 0
        self.name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        self._waiting: set[asyncio.Future[None]] = set()
        self._loop = loop
        self._folder: _Folder | None = None
        self._socket: socket.socket | None = None
        if HAS_SOCKETS:
            self._bind(folder)

    def _bind(self, folder: Path) -> None:
        self._folder = _Folder(folder)
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        heard.setblocking(False)
        try:
            heard.bind(self._folder.address(self.name))
            self._loop.add_reader(heard, self._hear, heard)
        except (OSError, NotImplementedError):  # a file system or a loop that can not: poll
            heard.close()
            return
        self._socket = heard

    @property
    def poll_seconds(self) -> float:
        """After how long a waiting consumer looks by itself."""
        return SAFETY_POLL_SECONDS if self._socket else POLL_WITHOUT_BELL_SECONDS

    def _hear(self, heard: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while heard.recv(16):
                pass
        self.ring()

    def ring(self) -> None:
        """Wake who waits in this process. On the bell's loop."""
        self.rings += 1
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, rings: int, timeout_seconds: float) -> None:
        """Wait until it rings, not at all when it rang since it was at `rings`, and at most for a time."""
        if self.rings != rings or timeout_seconds <= 0:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(future)
        timer = self._loop.call_later(min(timeout_seconds, self.poll_seconds), _finish, future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.discard(future)

    def close(self) -> None:
        """Hear no more."""
        self.ring()
        if self._socket is not None and self._folder is not None:
            self._loop.remove_reader(self._socket)
            with contextlib.suppress(FileNotFoundError):
                (self._folder.path / self.name).unlink()
            self._socket.close()
            self._socket = None
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Ringer:
    """Rings every bell of a directory. From any one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = _Folder(folder) if HAS_SOCKETS else None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if HAS_SOCKETS else None
        if self._socket:
            self._socket.setblocking(False)

    def ring(self) -> None:
        """Wake all consumers; the socket of one that was killed is removed."""
        if self._folder is None or self._socket is None:
            return
        try:
            names = os.listdir(self._folder.path)
        except OSError:  # no descriptor is left, or the directory was deleted: what was written is written all the same
            return
        for name in names:
            if not name.endswith(SUFFIX):
                continue
            try:
                self._socket.sendto(b"1", self._folder.address(name))
            except BlockingIOError:
                continue  # it has not heard the last ones yet: it is awake
            except ConnectionRefusedError:
                with contextlib.suppress(FileNotFoundError):
                    (self._folder.path / name).unlink()
            except OSError:
                continue  # gone between the listing and the ring, or no socket

    def close(self) -> None:
        """Ring no more."""
        if self._socket is not None and self._folder is not None:
            self._socket.close()
            self._folder.close()
            self._socket = self._folder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
