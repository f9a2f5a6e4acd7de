"""Several processes on one port: started together, started again when one dies, stopped together."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from typing import Any

from ...errors import CannotListen
from .http_run import STOP_SIGNALS

logger = logging.getLogger("millrace.workers")

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
HEALTHY_SECONDS = 60.0  # a worker that lived so long is started again at once
EXTRA_SECONDS = 5.0  # to end after the drain


def reserve_port(host: str, port: int) -> socket.socket:
    """A socket that keeps the port for the workers; it does not listen, so no connection comes to it.

    :raises CannotListen: another program has the port, be it one that shares ports
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if port:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        held = socket.socket(family)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
    except OSError as error:
        raise CannotListen(host, port, error) from error
    return held


class Supervisor:
    """Keeps worker processes alive until it is told to stop.

    A worker gets, as its last argument, JSON with its number (``worker``) and a file descriptor (``ready_fd``) to which
    it writes a line of JSON when it serves; its standard input ends when the supervisor does.

    :param command: starts a worker
    :param drain_seconds: how long workers may take to end
    :param on_ready: called with what the first worker wrote, once all serve
    """

    def __init__(
        self, command: list[str], workers: int, *, drain_seconds: float, on_ready: Callable[[dict[str, Any]], None]
    ) -> None:
        self._command = command
        self._workers = workers
        self._drain_seconds = drain_seconds
        self._on_ready = on_ready
        self._processes: dict[int, Process] = {}
        self._ready: dict[int, dict[str, Any]] = {}
        self._stopping = asyncio.Event()
        self._signals = 0
        self._exit_code = 0
        self._was_ready = False

    async def run(self) -> int:
        """Run the workers until SIGTERM or SIGINT, or until one does not start; the exit code."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        async with asyncio.TaskGroup() as group:
            for worker in range(self._workers):
                group.create_task(self._keep(worker))
            group.create_task(self._stop_all())
        return self._exit_code

    async def _keep(self, worker: int) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while not self._stopping.is_set():
            started = time.monotonic()
            process = await self._start(worker)
            code = await process.wait()
            del self._processes[worker]
            if self._stopping.is_set():
                return
            if not self._was_ready:
                self._fail(code)
                return
            if time.monotonic() - started > HEALTHY_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            logger.error("worker %d (pid %d) %s; starting another in %g s", worker, process.pid, ending(code), backoff)
            await self._pause(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)

    async def _start(self, worker: int) -> Process:
        reading, writing = os.pipe()
        told = json.dumps({"worker": worker, "ready_fd": writing})
        try:
            # Of its own session, so that Ctrl-C reaches the supervisor alone.
            process = await asyncio.create_subprocess_exec(
                *self._command, told, stdin=asyncio.subprocess.PIPE, pass_fds=(writing,), start_new_session=True
            )
        finally:
            os.close(writing)
        self._processes[worker] = process
        if self._stopping.is_set():
            process.terminate()
        line = await _line(reading)
        if line:
            self._ready[worker] = json.loads(line)
            if len(self._ready) == self._workers and not self._was_ready:
                self._was_ready = True
                self._on_ready(self._ready[0])
        return process

    def _fail(self, code: int) -> None:
        """A worker did not start; it said why."""
        if not self._stopping.is_set():
            print(f"millrace: a worker did not start: it {ending(code)}", file=sys.stderr)
            self._exit_code = 1
            self._stopping.set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _stop_all(self) -> None:
        await self._stopping.wait()
        for process in list(self._processes.values()):
            process.terminate()
        end = time.monotonic() + self._drain_seconds + EXTRA_SECONDS
        while self._processes and time.monotonic() < end:
            await asyncio.sleep(0.02)
        self._kill()

    def _on_signal(self) -> None:
        self._signals += 1
        self._stopping.set()
        if self._signals > 1:
            self._exit_code = 1
            self._kill()

    def _kill(self) -> None:
        for process in list(self._processes.values()):
            process.kill()


def ending(code: int) -> str:
    """How a process ended, in words.

    >>> ending(-9), ending(3)
    ('was killed by SIGKILL (the system does so when memory is short)', 'ended with exit code 3')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (" (the system does so when memory is short)" if name == "SIGKILL" else "")


async def _line(descriptor: int) -> bytes:
    """The line that a worker writes when it serves; empty when it ended before."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    try:
        return await reader.readline()
    finally:
        transport.close()
