"""A server under test: a tree of processes on one core, whose CPU time is counted, and which can be held still."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .machine import environment, pinned_to
from .subjects import PEERS
from .venvs import PeerUnavailable

READY_TIMEOUT_SECONDS = 90
STOP_TIMEOUT_SECONDS = 10


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(root: int) -> list[int]:
    """`root` and all its descendants that run now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the name: state, parent, ... (proc_pid_stat(5), fields 3 and on)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


class ServerProcess:
    """A started server. The working directory is `peers/`."""

    def __init__(self, command: Sequence[str], *, core: int) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        with pinned_to(core):
            self._process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, cwd=PEERS,
                env=environment(),
            )
        self._pids = [self._process.pid]
        self.ready_at = 0.0  # on the monotonic clock

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Raises PeerUnavailable when the process ends, or is not ready in time."""
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if is_ready():
                    self.ready_at = time.monotonic()
                    self._pids = tree(self._process.pid)
                    return
            time.sleep(0.01)
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines() or ["no word"]
        raise PeerUnavailable(f"did not get ready; {words[-1][:120]}")

    def cpu_seconds(self) -> float:
        """User and system time of the whole tree so far."""
        ticks = 0
        for pid in self._pids:
            with contextlib.suppress(OSError):
                fields = _stat(pid)
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Resident memory of the tree; pages that its processes share count once for each."""
        pages = 0
        for pid in self._pids:
            with contextlib.suppress(OSError):
                pages += int(_stat(pid)[21])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def hold(self) -> None:
        """Stop the tree where it stands: an idle LitServe polls its queues and would take the core from the others."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM, and after a while SIGKILL to what is left of the tree."""
        self.go_on()
        if self._process.poll() is None:
            self._pids = tree(self._process.pid)
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_SECONDS)
        left = [pid for pid in self._pids if pid != self._process.pid]
        if self._process.poll() is None:
            left.append(self._process.pid)
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
