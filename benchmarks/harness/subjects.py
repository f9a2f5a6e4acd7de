"""What is measured: a peer (or Millrace, or plain Python) behind a line protocol, each in a process of its own."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .venvs import PeerUnavailable, python_of

PEERS = Path(__file__).resolve().parents[1] / "peers"
START_TIMEOUT_SECONDS = 120
RUN_TIMEOUT_SECONDS = 120
MAX_EVENTS = 1_000_000


@dataclass(frozen=True)
class Subject:
    """A row of the table: its `name`, the script under `peers/` that does the work, and whose environment runs it."""

    name: str
    script: str
    environment: str = ""
    arguments: tuple[str, ...] = ()


class WrongAnswer(Exception):
    """A peer computed something else than was asked; its time means nothing."""


class Peer:
    """A running subject.

    Raises PeerUnavailable when its environment is missing or its script does not start.
    """

    def __init__(self, subject: Subject, *, install: bool = True) -> None:
        self.subject = subject
        self._unread = b""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the peer
        self._process = subprocess.Popen(
            [python_of(subject.environment, install=install), str(PEERS / subject.script), *subject.arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip
        hello = self._read(START_TIMEOUT_SECONDS)
        self.versions: dict[str, str] = hello["versions"]
        self.modes: list[str] = hello["modes"]

    def run(self, mode: str, events: int, expected: object = None, **parameters: Any) -> float:
        """Seconds for `events` events. Raises WrongAnswer when the peer's answer is not `expected`."""
        request = {"mode": mode, "events": events, **parameters}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerUnavailable(self._last_words()) from None
        reply = self._read(RUN_TIMEOUT_SECONDS)
        if "error" in reply:
            raise PeerUnavailable(reply["error"])
        if expected is not None and reply["answer"] != expected:
            raise WrongAnswer(f"{self.subject.name}, {request}: {reply['answer']!r} instead of {expected!r}")
        return float(reply["seconds"])

    def close(self) -> None:
        """End the process: closed stdin is its signal to leave; after 5 seconds it is killed."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it is over already
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _read(self, timeout_seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        stdout = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout_seconds
        while b"\n" not in self._unread:
            ready, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
            arrived = os.read(stdout, 65536) if ready else b""
            if not arrived:
                reason = self._last_words() if ready else f"no answer in {timeout_seconds} s"
                self._process.kill()
                self.close()
                raise PeerUnavailable(reason)
            self._unread += arrived
        line, _, self._unread = self._unread.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:120] if lines else "ended without a word"


def fitting_events(peer: Peer, mode: str, *, seconds: float, first: int = 100, **parameters: Any) -> int:
    """How many events take about `seconds`, found by running more and more of them (which also warms the peer up)."""
    events = first
    while events < MAX_EVENTS:
        took = peer.run(mode, events, **parameters)
        if took > seconds / 4:
            return max(1, min(MAX_EVENTS, round(events * seconds / took)))
        events = min(MAX_EVENTS, events * 5)
    return events
