"""One LMDB environment per path and process: opening, transactions, and what goes wrong in them.

The only file that knows lmdb. Rules that it keeps (https://lmdb.readthedocs.io, "Caveats"): an environment is opened
once in a process and again after a fork; no transaction is open when the map is resized; none outlives a call.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar, get_args

import lmdb

from ..errors import MillraceError, QueueFull, SpecError
from .base import TopicGone

T = TypeVar("T")
Transaction: TypeAlias = "lmdb.Transaction[bytes]"
Table = lmdb._Database
Durability = Literal["fsync", "metasync", "none"]
DURABILITIES: tuple[Durability, ...] = get_args(Durability)
MAP_BYTES = 64 << 30
MAX_TABLES = 4_100
MAX_READERS = 2_000
ROOM_BYTES = 1 << 20
LOCK_BYTES = MAX_READERS * 64 + 512
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StoreForked(MillraceError, RuntimeError):
    """A queue that was opened before a fork is used after it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} was opened before this process was forked: open the queue again in this process")


class Store:
    """An LMDB environment.

    :param map_bytes: how large it may grow; the file is sparse, so a large number costs nothing
    :param durability: ``fsync`` keeps every commit through a power cut; ``metasync`` may lose the last ones and stays
        whole; ``none`` survives the death of processes, not of the machine

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder), map_bytes=1 << 20)
    ...     _ = store.write(lambda txn: txn.put(b"k", b"v"))
    ...     store.read(lambda txn: txn.get(b"k"))
    ...     store.close()
    b'v'
    """

    def __init__(self, path: Path, *, map_bytes: int = MAP_BYTES, durability: Durability = "fsync") -> None:
        self.path = path
        self.settings = (map_bytes, durability)
        self._pid = os.getpid()
        # Readers hold one lock and the writer the other; both together only while the map is resized.
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        path.mkdir(parents=True, exist_ok=True)
        with self._mapped():
            _make_lock(path)
            self._environment = lmdb.open(
                str(path),
                map_size=map_bytes,
                sync=durability != "none",
                metasync=durability == "fsync",
                max_dbs=MAX_TABLES,
                max_readers=MAX_READERS,
                max_spare_txns=0,  # a forked child that closes its copy would free the slot of a spare one for us all
                mode=0o666,
            )
            self._file = _identity(path)
        _open.add(self)
        self.check_readers()

    def table(self, name: str) -> Table:
        """A table, made when it is new."""
        with self._writing, self._reading, self._mapped():
            return self._environment.open_db(name.encode())

    def read(self, work: Callable[[Transaction], T]) -> T:
        """What `work` reads, in one snapshot. Microseconds; any thread."""
        self.check_process()
        try:
            with self._reading, self._environment.begin() as txn:
                return work(txn)
        except lmdb.MapResizedError:  # another process made it larger
            self.resize(0)
        with self._reading, self._environment.begin() as txn:
            return work(txn)

    def write(self, work: Callable[[Transaction], T]) -> T:
        """What `work` answers, once all that it wrote is durable; if it raises, nothing of it is written.

        :raises QueueFull: the map or the disk is full
        :raises TopicGone: the file was deleted
        """
        self.check_process()
        try:
            outcome = self._write(work)
        except lmdb.MapResizedError:
            self.resize(0)
            outcome = self._write(work)
        self.check_there()
        return outcome

    def _write(self, work: Callable[[Transaction], T]) -> T:
        with self._writing, self._mapped(), self._environment.begin(write=True) as txn:
            return work(txn)

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """Give LMDB's errors the words that a user can act on."""
        try:
            yield
        except lmdb.MapFullError as error:
            raise QueueFull(
                f"{self.path}: the map of {self.map_bytes:,} bytes is full, and nothing of this call was written: open "
                "the queue with a larger map_bytes (in any process), or set retention_bytes or retention_seconds"
            ) from error
        except lmdb.MapResizedError:
            raise
        except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as error:
            raise SpecError(
                f"{self.path}: data.mdb is damaged, or of something else ({error}): restore it from a backup, or take "
                "another address"
            ) from error
        except (lmdb.Error, OSError) as error:
            if not self._is_for_room(error):
                raise
            raise QueueFull(
                f"{self.path}: the disk is full, and nothing of this call was written; what came before is safe: "
                "free space on this file system and append again"
            ) from error

    def _is_for_room(self, error: lmdb.Error | OSError) -> bool:
        """Whether the disk is full. Where only a part of a page still fits, LMDB calls that an input/output error."""
        number = error.code if isinstance(error, lmdb.Error) else error.errno
        if number != errno.EIO:
            return number in NO_ROOM
        disk = os.statvfs(self.path)
        return disk.f_bavail * disk.f_frsize < ROOM_BYTES

    def check_there(self) -> None:
        """Raise :class:`TopicGone` where the file that is open is not the one that others find."""
        if _identity(self.path) != self._file:
            raise TopicGone(
                f"{self.path} was deleted, or another put in its place, while it was open: what is written now would "
                "be lost; start the processes again that use it"
            )

    @property
    def map_bytes(self) -> int:
        """How large it may grow now."""
        return int(self._environment.info()["map_size"])

    def resize(self, map_bytes: int) -> None:
        """Let it grow to `map_bytes`; 0 takes what another process has set."""
        with self._writing, self._reading:
            self._environment.set_mapsize(map_bytes)

    def adopt_growth(self) -> bool:
        """Whether another process has made it larger; if so, it is here too."""
        before = self.map_bytes
        self.resize(0)
        if self.map_bytes < before:
            self.resize(before)
        return self.map_bytes > before

    def make_room(self) -> None:
        """Grow a little past the limit: to delete in a full map, LMDB needs free pages to write on."""
        self.resize(self.map_bytes + ROOM_BYTES)

    def check_readers(self) -> int:
        """Free the slots of readers that were killed; they would keep old pages from being used again."""
        return int(self._environment.reader_check())

    def check_process(self) -> None:
        """Raise :class:`StoreForked` in a process that was forked after the store was opened."""
        if os.getpid() != self._pid:
            raise StoreForked(self.path)

    def hold(self) -> None:
        """Wait until no transaction is open, and let none begin."""
        self._writing.acquire()
        self._reading.acquire()

    def go_on(self) -> None:
        """Let transactions begin again."""
        self._reading.release()
        self._writing.release()

    def abandon(self) -> None:
        """Close the copy of a forked child, which may then open the same path; the parent's is untouched."""
        self._environment.close()
        self.go_on()

    def close(self) -> None:
        """Close the environment."""
        _open.discard(self)
        if os.getpid() == self._pid:
            with self._writing, self._reading:
                self._environment.close()


_open: weakref.WeakSet[Store] = weakref.WeakSet()


def _before_fork() -> None:
    for store in _open:
        store.hold()


def _after_fork_in_parent() -> None:
    for store in _open:
        store.go_on()


def _after_fork_in_child() -> None:
    for store in list(_open):
        store.abandon()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _identity(path: Path) -> tuple[int, int]:
    """Which file lies there now; zeros where none does."""
    try:
        found = os.stat(path / "data.mdb")
    except (FileNotFoundError, NotADirectoryError):
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _make_lock(path: Path) -> None:
    """Make LMDB's lock file with all its blocks.

    LMDB makes a sparse one and maps it: where the disk is full, touching a page without a block kills the process.
    It is linked into place whole, as a file that another process has locked already must not be opened and closed here.
    """
    lock, whole = path / "lock.mdb", path / f"lock-{uuid.uuid4().hex}"
    if lock.exists():
        return
    try:
        with os.fdopen(os.open(whole, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as file:
            file.write(bytes(LOCK_BYTES))
        os.link(whole, lock)
    except OSError as error:  # another process was first, or there are no links here: LMDB makes it
        if error.errno in NO_ROOM:
            raise
    finally:
        whole.unlink(missing_ok=True)
