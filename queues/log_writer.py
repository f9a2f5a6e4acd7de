"""The one thread of a process that writes to a store: what comes while a transaction is written shares the next one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from ..errors import MillraceError, QueueFull, Unavailable
from .log_store import Store, Transaction

log = logging.getLogger(__name__)
JOBS_PER_TRANSACTION = 2_000
BYTES_PER_TRANSACTION = 32 << 20


class Session(Protocol):
    """What jobs work on: one write transaction."""

    def finish(self) -> None:
        """All jobs are done; write what they left."""


S = TypeVar("S", bound=Session)
T = TypeVar("T")


@dataclass(slots=True)
class _Job(Generic[S]):
    work: Callable[[S], Any]
    size: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    frees: bool
    outcome: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class _Chore:
    """Something that the thread does now and then."""

    work: Callable[[], None]
    every_seconds: float
    due: float = field(default_factory=time.monotonic)


class Writer(Generic[S]):
    """Runs jobs in write transactions, as many in one as are waiting.

    :param session: what the jobs of a transaction work on
    :param written: called in the thread after each commit, before the jobs' callers go on
    :param make_room: called in the thread when the store is full; whether it freed something
    """

    def __init__(
        self,
        store: Store,
        session: Callable[[Transaction], S],
        *,
        written: Callable[[S], None],
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        self.store = store
        self._session = session
        self._written = written
        self._make_room = make_room
        self._jobs: deque[_Job[S]] = deque()
        self._chores: list[_Chore] = []
        self._waiting = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"millrace-log-{store.path.name}", daemon=True)
        self._thread.start()

    async def submit(self, work: Callable[[S], T], *, size: int = 0, frees: bool = False) -> T:
        """What `work` answers, once its transaction is durable. If the caller is cancelled, it is still written.

        :param size: about how many bytes it writes
        :param frees: it deletes; in a full store it may go a little past the limit for that
        :raises QueueFull: the store is full; nothing of this job was written
        """
        self.store.check_process()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._waiting:
            if self._stopping:
                raise Unavailable(f"{self.store.path}: the queue is closed")
            self._jobs.append(_Job(work, size, loop, future, frees))
            self._waiting.notify()
        return await future

    @property
    def is_wanted(self) -> bool:
        """Whether jobs wait: chores that take long should make way."""
        return bool(self._jobs) or self._stopping

    def now_and_then(self, work: Callable[[], None], every_seconds: float) -> Callable[[], None]:
        """Let the thread call `work` every so often; call the answer to end it."""
        chore = _Chore(work, every_seconds, time.monotonic() + every_seconds)
        with self._waiting:
            self._chores.append(chore)
            self._waiting.notify()

        def end() -> None:
            with self._waiting:
                self._chores.remove(chore)

        return end

    def perform(self, work: Callable[[S], T]) -> T:
        """Write one job at once. Only for chores, in the thread."""
        session, outcome = self.store.write(lambda txn: self._apply(txn, work))
        self._written(session)
        return outcome

    def _apply(self, txn: Transaction, work: Callable[[S], T]) -> tuple[S, T]:
        session = self._session(txn)
        outcome = work(session)
        session.finish()
        return session, outcome

    def _run(self) -> None:
        while True:
            jobs, chores = self._next()
            if jobs:
                self._write(jobs)
                _report(jobs)
            for chore in chores:
                self._do(chore)
            if self._stopping and not jobs:
                return

    def _next(self) -> tuple[list[_Job[S]], list[_Chore]]:
        """What is to be done now; waits for something."""
        with self._waiting:
            while not self._jobs and not self._stopping:
                due = min((chore.due for chore in self._chores), default=None)
                if due is not None and due <= time.monotonic():
                    break
                self._waiting.wait(None if due is None else due - time.monotonic())
            jobs: list[_Job[S]] = []
            size = 0
            while self._jobs and len(jobs) < JOBS_PER_TRANSACTION and size < BYTES_PER_TRANSACTION:
                jobs.append(self._jobs.popleft())
                size += jobs[-1].size
            now = time.monotonic()
            return jobs, [chore for chore in self._chores if chore.due <= now]

    def _write(self, jobs: list[_Job[S]]) -> None:
        """Write jobs together; when that fails, one by one, so that each gets its own outcome."""
        try:
            self._write_together(jobs)
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._write([job])
            elif not (isinstance(error, QueueFull) and self._write_after_making_room(jobs)):
                jobs[0].error = error

    def _write_together(self, jobs: list[_Job[S]]) -> None:
        def work(session: S) -> None:
            for job in jobs:
                job.outcome = job.work(session)

        self.perform(work)

    def _write_after_making_room(self, jobs: list[_Job[S]]) -> bool:
        with contextlib.suppress(Exception):  # the caller is told of the first error, which says what to do
            if jobs[0].frees:
                self.store.make_room()
            if jobs[0].frees or self.store.adopt_growth() or self._make_room():
                self._write_together(jobs)
                return True
        return False

    def _do(self, chore: _Chore) -> None:
        try:
            chore.work()
        except MillraceError as error:
            log.warning("%s: upkeep failed; it is tried again in %s s: %s", self.store.path, chore.every_seconds, error)
        except Exception:
            log.exception("%s: upkeep failed; it is tried again in %s s", self.store.path, chore.every_seconds)
        chore.due = time.monotonic() + chore.every_seconds

    def close(self) -> None:
        """Write what is waiting, then end the thread and close the store."""
        with self._waiting:
            self._stopping = True
            self._waiting.notify()
        self._thread.join()
        self.store.close()


def _report(jobs: list[_Job[Any]]) -> None:
    """Give the outcomes to the callers; each loop is woken once."""
    loops: dict[asyncio.AbstractEventLoop, list[_Job[Any]]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, its_jobs in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, its_jobs)


def _resolve(jobs: list[_Job[Any]]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.outcome)
