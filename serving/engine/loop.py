"""A loop in a thread of its own, and the way in: events queue up and the loop is woken only when it sleeps."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

Job = Callable[[], None]


class LoopThread:
    """Runs an event loop in a daemon thread, made when it is first needed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop: asyncio.AbstractEventLoop | None = None
        self._jobs: deque[Job] = deque()
        self._asleep = True
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> asyncio.AbstractEventLoop:
        """The running loop; starts the thread at the first call."""
        with self._lock:
            if self.loop is None:
                loop = _new_loop()
                ready = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(loop, ready), name=self.name, daemon=True)
                self._thread.start()
                ready.wait()
                self.loop = loop
            return self.loop

    def post(self, job: Job) -> None:
        """Have a function called on the loop; cheap while the loop is busy."""
        self._jobs.append(job)
        if self._asleep:
            self._asleep = False
            (self.loop or self.start()).call_soon_threadsafe(self._work)

    def call(self, coroutine: Coroutine[Any, Any, Any], timeout_seconds: float | None = None) -> Any:
        """Run a coroutine on the loop and block for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.start()).result(timeout_seconds)

    def stop(self) -> None:
        """End the loop and its thread."""
        with self._lock:
            loop, self.loop = self.loop, None
        if loop is None or self._thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)

    def _work(self) -> None:
        while True:
            for _ in range(min(len(self._jobs), 1024)):
                self._jobs.popleft()()
            if self._jobs:
                assert self.loop is not None  # noqa: S101 - it is running this
                self.loop.call_soon(self._work)
                return
            self._asleep = True
            if not self._jobs:
                return
            self._asleep = False

    def _run(self, loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
        asyncio.set_event_loop(loop)
        loop.call_soon(ready.set)
        try:
            loop.run_forever()
        finally:
            _cancel_all(loop)
            loop.close()


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
    loop.run_until_complete(loop.shutdown_asyncgens())


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
