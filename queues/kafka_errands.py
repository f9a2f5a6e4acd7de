"""Work that one thread does for the others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from .kafka_errors import KafkaFault

T = TypeVar("T")


class Errands:
    """A list of things to do for one thread; others add to it, and wait.

    :param wanted: told when there is something to do, from any thread

    >>> errands = Errands(lambda: None)
    >>> asking = threading.Thread(target=lambda: print(errands.ask(lambda: "done")))
    >>> asking.start()
    >>> while asking.is_alive():
    ...     errands.do()
    done
    """

    def __init__(self, wanted: Callable[[], None]) -> None:
        self._wanted = wanted
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._is_closed = False

    def ask(self, work: Callable[[], T]) -> T:
        """Have the thread do something, and wait for the answer.

        :raises KafkaFault: it does no more
        """
        future: Future[T] = Future()
        with self._lock:
            if self._is_closed:
                raise KafkaFault("moved", "the consumer is closed")
            self._waiting.put((work, future))
        self._wanted()
        return future.result()

    def do(self) -> None:
        """Do what was asked for until now. In the thread."""
        while not self._waiting.empty():
            self._do_next()

    def do_until(self, future: Future[T]) -> T:
        """Do what is asked for until something else is through, and answer that. In the thread."""
        future.add_done_callback(lambda _: self._waiting.put(None))
        while not future.done():
            self._do_next()
        return future.result()

    def _do_next(self) -> None:
        errand = self._waiting.get()
        if errand is None:
            return
        work, future = errand
        try:
            future.set_result(work())
        except Exception as error:  # it is raised where somebody waits for it
            future.set_exception(error)

    def close(self) -> None:
        """Do what is left, and no more. In the thread."""
        with self._lock:
            self._is_closed = True
        self.do()
