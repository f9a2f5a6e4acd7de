"""Worker processes for steps that hold the interpreter or may crash. Each worker runs one call at a time.

A worker that dies fails only the event it was working on; the next call gets a new one. Parent and worker speak
length-prefixed cloudpickle over pipes; both ends are this program.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

import cloudpickle

from ...errors import GraphError, StepError

LENGTH = struct.Struct("<Q")


def write_frame(stream: BinaryIO, payload: bytes) -> None:
    """Send one pickled value."""
    stream.write(LENGTH.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def read_frame(stream: BinaryIO) -> bytes:
    """Receive one value, still pickled; ``EOFError`` where the other end is gone."""
    head = stream.read(LENGTH.size)
    length: int = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else -1
    payload = stream.read(length) if length >= 0 else b""
    if len(payload) != length:
        raise EOFError
    return payload


class WorkerPool:
    """The worker processes of one step.

    :param step: the step's path, for errors
    :param remake: makes the step's function; it is sent to each worker
    :param limit: how many processes there may be
    """

    def __init__(self, step: str, remake: Callable[[], Callable[..., Any]], limit: int) -> None:
        self.step = step
        self.limit = limit
        try:
            self._order = cloudpickle.dumps(remake)
        except Exception as error:
            raise GraphError(
                f"step '{step}' can not run with execution='process', because it does not pickle: {error}"
            ) from error
        self._idle: list[Process] = []
        self._busy: set[Process] = set()
        self._closed = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the first worker, so that its load time and its faults show before the first event."""
        self._put_back(self.take())

    def take(self) -> Process:
        """An idle worker, or a new one."""
        while process := self._idle_one():
            if process.alive:
                return process
            process.reason()  # it died while it had nothing to do
            self._put_back(process)
        process = Process(self.step, self._order)
        with self._lock:
            self._busy.add(process)
            closed = self._closed
        if closed:
            process.kill()
        return process

    def _idle_one(self) -> Process | None:
        with self._lock:
            process = self._idle.pop() if self._idle else None
            if process is not None:
                self._busy.add(process)
        return process

    def call(self, process: Process, *args: Any) -> Any:
        """Run the step's function in a worker and block for its result; ``process.kill()`` ends that.

        :raises StepError: the worker died
        """
        try:
            answer = process.ask(self._dumped(args))
        except (EOFError, OSError, ValueError) as error:  # ValueError: the pipe is closed
            raise StepError(
                f"step '{self.step}': its worker process died ({process.reason()})", step=self.step
            ) from error
        finally:
            self._put_back(process)
        ok, value = cloudpickle.loads(answer)
        if ok:
            return value
        raise value

    def _dumped(self, args: tuple[Any, ...]) -> bytes:
        try:
            return cloudpickle.dumps(args)  # type: ignore[no-any-return]
        except Exception as error:
            raise TypeError(f"the body can not be sent to the step's process: {error}") from error

    def _put_back(self, process: Process) -> None:
        with self._lock:
            self._busy.discard(process)
            if process.alive and not self._closed:
                self._idle.append(process)

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            self._closed = True
            idle, busy = self._idle, list(self._busy)
            self._idle = []
        for process in [*idle, *busy]:
            process.kill()
        for process in idle:  # the others are waited for by the threads that use them
            process.reason()


class Process:
    """One worker, and the pipes to it."""

    def __init__(self, step: str, order: bytes) -> None:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "millrace.serving.engine.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._popen.stdin is not None and self._popen.stdout is not None  # noqa: S101 - both were asked for
        self._to: BinaryIO = self._popen.stdin  # type: ignore[assignment]
        self._from: BinaryIO = self._popen.stdout  # type: ignore[assignment]
        self._is_killed = False
        try:
            ok, value = cloudpickle.loads(self.ask(order))
        except (EOFError, OSError) as error:
            raise StepError(f"step '{step}': its worker process did not start ({self.reason()})", step=step) from error
        if not ok:
            self.kill()
            self.reason()
            raise GraphError(f"step '{step}' can not be made in its worker process: {value}") from value

    @property
    def alive(self) -> bool:
        """Whether it can take a call."""
        return not self._is_killed and self._popen.poll() is None

    def ask(self, payload: bytes) -> bytes:
        """Send a frame and block for the answer."""
        write_frame(self._to, payload)
        return read_frame(self._from)

    def reason(self) -> str:
        """Why the process ended; waits for that, and closes the pipes."""
        try:
            code = self._popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
            return "it closed its pipe"
        finally:
            self._close()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """End the process. Its pipes stay for the thread that may be reading from them."""
        self._is_killed = True
        self._popen.kill()

    def _close(self) -> None:
        for pipe in (self._to, self._from):
            with contextlib.suppress(OSError):
                pipe.close()
