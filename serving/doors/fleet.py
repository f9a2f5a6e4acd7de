"""Several processes of one program: started together, started again when one dies, stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from .stopping import EXTRA_SECONDS, is_hasty, stop_signals

logger = logging.getLogger("millrace.workers")

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
HEALTHY_SECONDS = 60.0  # a member that lived so long is started again at once
LAST_LINES_SECONDS = 2.0  # for what a process that has ended has left in its pipes
LOOK_SECONDS = 0.2
LINE_BYTES = 2**20


@dataclass(slots=True, eq=False)
class Member:
    """One place in a fleet, and the process that fills it now.

    The process gets, as its last argument, JSON with its number (``worker``) and a file descriptor (``ready_fd``) to
    which it writes a line of JSON when it serves, and more later; its standard input ends when the fleet does.

    :param name: in messages
    :param command: starts it
    :ivar told: what it wrote last
    :ivar restarts: how often it was started again
    :ivar is_over: it ended, and will not be started again
    """

    name: str
    command: list[str]
    number: int = 0
    process: Process | None = None
    told: dict[str, Any] = field(default_factory=dict)
    is_ready: bool = False
    restarts: int = 0
    is_over: bool = False

    @property
    def state(self) -> str:
        """In a word."""
        if self.is_over:
            return "ended"
        return "runs" if self.is_ready else "starts" if self.process is not None else "waits"


class Fleet:
    """Keeps processes alive until it is told to stop.

    :param drain_seconds: how long members may take to end
    :param on_ready: called with what the first member wrote, once all serve
    :param on_output: gets the members' output by lines; default: it goes where this process's goes
    :ivar was_ready: all members have served at one time
    """

    def __init__(
        self,
        members: list[Member],
        *,
        drain_seconds: float,
        on_ready: Callable[[dict[str, Any]], None],
        on_output: Callable[[Member, str], None] | None = None,
    ) -> None:
        self.members = members
        self._drain_seconds = drain_seconds
        self._on_ready = on_ready
        self._on_output = on_output
        self._readers: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._signals = 0
        self._exit_code = 0
        self.was_ready = False

    async def run(self) -> int:
        """Run the members until a signal asks to stop, or until one does not start; the exit code."""
        loop = asyncio.get_running_loop()
        for number in stop_signals():
            loop.add_signal_handler(number, self._on_signal, number)
        async with asyncio.TaskGroup() as group:
            for member in self.members:
                group.create_task(self._keep(member))
            group.create_task(self._stop_all())
        if self._readers:
            # What a member started in a session of its own, and left behind, may hold its pipes open.
            _, left = await asyncio.wait(self._readers, timeout=LAST_LINES_SECONDS)
            for task in left:
                task.cancel()
        return self._exit_code

    def stop(self) -> None:
        """Let all members end, as a signal does."""
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    async def _keep(self, member: Member) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while not self._stopping.is_set():
            started = time.monotonic()
            process = await self._start(member)
            code = await _code_of(process)
            _kill_all_of(process)  # such as processes of steps, which would outlive it
            member.process, member.is_ready = None, False
            if not self.was_ready:
                self._fail(member, code)
            if self._stopping.is_set():
                break
            if time.monotonic() - started > HEALTHY_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            logger.error(
                "%s (pid %d) %s; starting another in %g s", member.name, process.pid, ending(code), backoff
            )
            await self._pause(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
            member.restarts += not self._stopping.is_set()
        member.is_over = True

    async def _start(self, member: Member) -> Process:
        reading, writing = os.pipe()
        place = json.dumps({"worker": member.number, "ready_fd": writing})
        output = None if self._on_output is None else PIPE
        try:
            # Of its own session, so that Ctrl-C reaches this process alone.
            process = await asyncio.create_subprocess_exec(
                *member.command, place, stdin=PIPE, stdout=output, stderr=output, pass_fds=(writing,),
                start_new_session=True, limit=LINE_BYTES,
            )  # fmt: skip
        finally:
            os.close(writing)
        member.process = process
        if self._stopping.is_set():
            process.terminate()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                self._read(self._pass_on(member, stream))
        self._read(self._listen(member, process, await _lines(reading)))
        return process

    def _read(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    async def _listen(self, member: Member, process: Process, told: asyncio.StreamReader) -> None:
        while (line := await told.readline()).endswith(b"\n"):
            member.told = json.loads(line)
            member.is_ready = member.process is process
            if all(one.is_ready for one in self.members) and not self.was_ready:
                self.was_ready = True
                self._said(self._on_ready, self.members[0].told)

    async def _pass_on(self, member: Member, output: asyncio.StreamReader) -> None:
        assert self._on_output is not None  # noqa: S101 - or there were no pipe
        while line := await _line_of(output):
            self._said(self._on_output, member, line.decode(errors="replace").rstrip("\n"))

    def _said(self, say: Callable[..., None], *what: object) -> None:
        """Say something, and stop where whoever read it has gone; what members still print must not block them."""
        try:
            say(*what)
        except BrokenPipeError:
            self.stop()

    def _fail(self, member: Member, code: int) -> None:
        """A member did not start; it said why."""
        if not self._stopping.is_set():
            print(f"millrace: {member.name} did not start: it {ending(code)}", file=sys.stderr)
            self._exit_code = 1
            self._stopping.set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _processes(self) -> list[Process]:
        return [member.process for member in self.members if member.process is not None]

    async def _stop_all(self) -> None:
        await self._stopping.wait()
        for process in self._processes():
            process.terminate()
        end = time.monotonic() + self._drain_seconds + EXTRA_SECONDS
        while self._processes() and time.monotonic() < end:
            await asyncio.sleep(0.02)
        self._kill()

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        self._stopping.set()
        if self._signals > 1 and is_hasty(number):
            self._exit_code = 1
            self._kill()

    def _kill(self) -> None:
        for process in self._processes():
            _kill_all_of(process)


async def _code_of(process: Process) -> int:
    """The exit code, once there is one; `Process.wait` also waits for those who have inherited the pipes."""
    waiting = asyncio.ensure_future(process.wait())
    while process.returncode is None:
        await asyncio.wait([waiting], timeout=LOOK_SECONDS)
    waiting.cancel()
    return process.returncode


def _kill_all_of(process: Process) -> None:
    """Kill a member and what it started; it leads a process group of its own."""
    with contextlib.suppress(ProcessLookupError):  # all have ended
        os.killpg(process.pid, signal.SIGKILL)


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


async def _lines(descriptor: int) -> asyncio.StreamReader:
    """What a member tells, by lines."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0))
    return reader


async def _line_of(output: asyncio.StreamReader) -> bytes:
    """The next line; a longer one than 1 MiB comes in several parts."""
    try:
        return await output.readuntil()
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await output.read(error.consumed)
