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


def write_frame(stream: BinaryIO, value: Any) -> None:
    """Send one value."""
    payload = cloudpickle.dumps(value)
    stream.write(LENGTH.pack(len(payload)) + payload)
    stream.flush()


def read_frame(stream: BinaryIO) -> Any:
    """Receive one value; ``EOFError`` where the other end is gone."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    payload = stream.read(LENGTH.unpack(head)[0])
    return cloudpickle.loads(payload)


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
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the first worker, so that its load time and its faults show before the first event."""
        self._put_back(self._take())

    def call(self, ticket: list[_Process], *args: Any) -> Any:
        """Run the step's function in a worker and block for its result.

        :param ticket: gets the process, so that :meth:`abandon` can end it
        """
        process = self._take()
        ticket.append(process)
        try:
            ok, value = process.ask(args)
        except (EOFError, OSError) as error:
            self._busy.discard(process)
            raise StepError(
                f"step '{self.step}': its worker process died ({process.reason()})", step=self.step
            ) from error
        self._put_back(process)
        if ok:
            return value
        raise value

    def abandon(self, ticket: list[_Process]) -> None:
        """End the process of a call that nobody waits for any more."""
        for process in ticket:
            self._busy.discard(process)
            process.kill()

    def _take(self) -> _Process:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    self._busy.add(process)
                    return process
        process = _Process(self.step, self._order)
        self._busy.add(process)
        return process

    def _put_back(self, process: _Process) -> None:
        with self._lock:
            self._busy.discard(process)
            if process.alive:
                self._idle.append(process)

    def close(self) -> None:
        """End all workers."""
        for process in [*self._idle, *self._busy]:
            process.kill()
        self._idle.clear()
        self._busy.clear()


class _Process:
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
        try:
            self._to.write(LENGTH.pack(len(order)) + order)
            self._to.flush()
            ok, value = read_frame(self._from)
        except (EOFError, OSError) as error:
            raise StepError(f"step '{step}': its worker process did not start ({self.reason()})", step=step) from error
        if not ok:
            self.kill()
            raise value

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def ask(self, args: tuple[Any, ...]) -> tuple[bool, Any]:
        write_frame(self._to, args)
        answer: tuple[bool, Any] = read_frame(self._from)
        return answer

    def reason(self) -> str:
        try:
            code = self._popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
            return "it closed its pipe"
        finally:
            self._close()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()
        self._close()

    def _close(self) -> None:
        for pipe in (self._to, self._from):
            with contextlib.suppress(OSError):
                pipe.close()
