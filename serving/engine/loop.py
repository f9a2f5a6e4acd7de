"""A loop in a thread of its own, and the way in: events queue up and the loop is woken only when it sleeps."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from ...deferred import asyncio

Job = Callable[[], None]
Last = Callable[[], Coroutine[Any, Any, None]]
JOBS_AT_ONCE = 1024
STOP_SECONDS = 5.0

logger = logging.getLogger("millrace.engine")


class LoopThread:
    """Runs an event loop in a daemon thread, made when it is first needed; or stands for a loop that runs elsewhere.

    :ivar is_lost: this process was forked from the one that has the thread
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop: asyncio.AbstractEventLoop | None = None
        self._jobs: deque[Job] = deque()
        self._asleep = True
        self._stopped = False
        self._ended = False
        self._last: Last | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.is_lost = False
        _made.add(self)

    def start(self) -> asyncio.AbstractEventLoop:
        """The running loop; starts the thread at the first call."""
        with self._lock:
            if self._stopped:
                raise RuntimeError(f"the loop of {self.name} was stopped")
            if self.loop is None:
                loop = _new_loop()
                ready = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(loop, ready), name=self.name, daemon=True)
                self._thread.start()
                ready.wait()
                self.loop = loop
            return self.loop

    def adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stand for a loop that somebody else runs and stops; nothing changes where this one has its thread."""
        if self._thread is None:
            self.loop = loop

    def post(self, job: Job) -> bool:
        """Have a function called on the loop; cheap while the loop is busy. Whether it will be called."""
        if self._stopped:
            return False
        self._jobs.append(job)
        if self._asleep:
            self._asleep = False
            try:
                (self.loop or self.start()).call_soon_threadsafe(self._work)
            except RuntimeError:
                logger.debug("the loop of %s is closed", self.name)
                return not self._taken_back(job)
        # It may have been stopped since: then either the last call of _work has seen the job, or it is still here.
        return not (self._stopped and self._taken_back(job))

    def call(self, coroutine: Coroutine[Any, Any, Any], timeout_seconds: float | None = None) -> Any:
        """Run a coroutine on the loop and block for its result; it is cancelled when the wait ends without one."""
        try:
            if threading.current_thread() is self._thread:
                raise RuntimeError("a step on the server's loop can not block for it; give it execution='thread'")
            future = asyncio.run_coroutine_threadsafe(coroutine, self.start())
        except RuntimeError:
            coroutine.close()
            raise
        try:
            return future.result(timeout_seconds)
        finally:
            future.cancel()

    def lose(self) -> None:
        """Take no more jobs in a process that was forked: no thread but the one that forked is there."""
        self._lock = threading.Lock()  # a thread that is not there may hold the other
        if self.loop is not None:
            self.loop, self._thread = None, None
            self._stopped = self.is_lost = True

    def stop(self, at_end: Job | None = None, last: Last | None = None, *, wait: bool = True) -> None:
        """End the loop and its thread; a loop that was adopted goes on.

        :param at_end: called on the loop when it has taken its last job
        :param last: awaited on the thread's loop when all tasks have ended
        :param wait: until the thread has ended, for at most 5 s
        """
        with self._lock:
            if self._stopped:
                return
            self._stopped, self._last = True, last
            loop, thread = self.loop, self._thread
        if loop is None or thread is None:
            self._finish(at_end)
            return
        if thread is threading.current_thread():
            self._finish_and_stop(at_end, loop)
            return
        loop.call_soon_threadsafe(self._finish_and_stop, at_end, loop)
        if wait:
            thread.join(STOP_SECONDS)
            if thread.is_alive() and at_end is not None:
                # A step blocks the loop for good; whoever waits for other events shall not.
                at_end()

    def _finish_and_stop(self, at_end: Job | None, loop: asyncio.AbstractEventLoop) -> None:
        self._finish(at_end)
        self._ended = True
        loop.stop()

    def _finish(self, at_end: Job | None) -> None:
        self._do_jobs(len(self._jobs))
        if at_end is not None:
            at_end()

    def _taken_back(self, job: Job) -> bool:
        try:
            self._jobs.remove(job)
        except ValueError:
            return False
        return True

    def _work(self) -> None:
        while True:
            if self._do_jobs(JOBS_AT_ONCE) and self.loop is not None:
                self.loop.call_soon(self._work)
                return
            # Who posts a job before this line relies on the next check, who posts one after it wakes the loop.
            self._asleep = True
            if not self._jobs:
                return
            self._asleep = False

    def _do_jobs(self, most: int) -> bool:
        """Whether there may be more."""
        for _ in range(most):
            try:
                job = self._jobs.popleft()
            except IndexError:
                return False
            try:
                job()
            except Exception:
                logger.exception("a job of the loop of %s failed", self.name)
        return True

    def _run(self, loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
        asyncio.set_event_loop(loop)
        loop.call_soon(ready.set)
        try:
            while not self._ended:
                _run_until_stopped(loop)
        finally:
            _cancel_all(loop)
            if self._last is not None:
                loop.run_until_complete(self._last())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


_made: weakref.WeakSet[LoopThread] = weakref.WeakSet()


def _lose_all() -> None:
    for one in list(_made):
        one.lose()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lose_all)


def _run_until_stopped(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    except (SystemExit, KeyboardInterrupt):
        # Raised by a task that a step made: it ends this task, not the loop that serves all others.
        logger.exception("a task on the loop tried to end the program")


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


class Slot:
    """The place where a thread waits for one result. Cheaper than a future."""

    __slots__ = ("_lock", "answer", "error")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self.answer: Any = None
        self.error: BaseException | None = None

    def put(self, answer: Any, error: BaseException | None) -> None:
        """Set the result and let the thread go on."""
        self.answer, self.error = answer, error
        self._lock.release()

    def wait(self) -> Any:
        """Block until there is a result; raise it when it is an error."""
        self._lock.acquire()
        if self.error is not None:
            raise self.error
        return self.answer
