"""Threads for blocking steps. They are daemons: a step that never returns does not keep the process alive."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from ...deferred import asyncio

logger = logging.getLogger("millrace.engine")


class ThreadPool:
    """Runs plain functions in threads for one step; grows as needed, bounded by the step's own gate.

    :param name: the step's name, which the threads carry
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._idle: list[_Worker] = []
        self._count = 0
        self.abandoned = 0

    async def run(self, fn: Callable[..., Any], *args: Any, on_abandon: Callable[[], None] | None = None) -> Any:
        """Await ``fn(*args)`` in a thread. When the wait is cancelled, the thread is left behind.

        :param on_abandon: called when the wait is cancelled, to make the function end
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        worker = self._idle.pop() if self._idle else self._new_worker()
        call = contextvars.copy_context().run
        worker.tasks.put((loop, done, lambda: call(fn, *args)))
        try:
            result = await done
        except asyncio.CancelledError:
            self.abandoned += 1
            worker.left = True
            worker.tasks.put(None)
            if on_abandon is not None:
                on_abandon()
            raise
        except BaseException:
            self._idle.append(worker)
            raise
        self._idle.append(worker)
        return result

    def _new_worker(self) -> _Worker:
        self._count += 1
        return _Worker(f"{self.name}-{self._count}")

    def close(self) -> None:
        """End the threads that are idle."""
        while self._idle:
            self._idle.pop().tasks.put(None)


class _Worker:
    def __init__(self, name: str) -> None:
        self.tasks: SimpleQueue[Any] = SimpleQueue()
        self.left = False
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while (task := self.tasks.get()) is not None:
            loop, done, call = task
            result: Any = None
            error: BaseException | None = None
            try:
                result = call()
            except StopIteration as stop:
                error = RuntimeError(f"the step raised StopIteration: {stop}")
            except BaseException as raised:
                error = raised
            try:
                loop.call_soon_threadsafe(_settle, done, result, error)
            except RuntimeError:
                logger.debug("a step ended after its engine was closed")
                return


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    elif isinstance(error, Exception):
        done.set_exception(error)
    else:
        done.set_exception(RuntimeError(f"the step ended its thread: {type(error).__name__}: {error}"))
