"""Stands for Nuclio's processor: starts a worker process, gives it events, and reads what it says."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgpack

PROGRAM = Path(__file__).with_name("wrapper_program.py")
SECONDS = 20


class Processor:
    """One worker process, and both of its sockets. Every line that it sends has to be whole.

    :ivar logs: the messages of its log
    :ivar acks: what it acknowledged, as (partition, offset)
    """

    def __init__(self, folder, *, handler="millrace.serving.functions.nuclio:handler", **environment):
        self.logs, self.acks = [], []
        listeners = [listening(folder / name) for name in ("events.sock", "control.sock")]
        self._stderr = folder / "stderr"
        with self._stderr.open("w") as stderr:  # no pipe: nobody reads it while the worker runs
            self.process = self._started(folder, handler, environment, stderr)
        self.events, self.control = (accepted(one) for one in listeners)
        self.events.settimeout(SECONDS)
        self._lines = self.events.makefile("rb")
        threading.Thread(target=self._read_control, daemon=True).start()

    @staticmethod
    def _started(folder, handler, environment, stderr):
        return subprocess.Popen(
            [sys.executable, "-u", str(PROGRAM), handler, str(folder / "events.sock"), str(folder / "control.sock")],
            env={**os.environ, **environment}, stderr=stderr,
        )  # fmt: skip

    def _read_control(self):
        for line in self.control.makefile("rb"):
            attributes = json.loads(line)["attributes"]
            self.acks.append((attributes["partition"], attributes["offset"]))

    def give(self, event):
        """Send an event."""
        packed = msgpack.packb(event)
        self.events.sendall(struct.pack(">i", len(packed)) + packed)

    def answer(self):
        """The next answer; what is logged before it is kept."""
        while (line := self._line())[:1] != b"r":
            pass
        return json.loads(line[1:])

    def until_logged(self, text):
        """Wait for a line of the log."""
        while text not in self.logs:
            self._line()

    def _line(self):
        line = self._lines.readline()
        assert line.endswith(b"\n"), self.stderr
        if line[:1] == b"l":
            self.logs.append(json.loads(line[1:])["message"])
        return line

    @property
    def stderr(self):
        """What it wrote there."""
        return self._stderr.read_text()

    def signal(self, number):
        """Tell it to drain, to go on, or to end."""
        self.process.send_signal(number)

    def until(self, condition):
        """Wait until something is so."""
        end = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < end, "it never was so"
            assert self.process.poll() is None or condition(), self.stderr
            time.sleep(0.005)

    def __enter__(self):
        try:
            while self._line() != b"s\n":
                pass
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.events.close()
        self._lines.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.control.close()


def listening(path):
    """A socket that waits for the worker."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    made.listen(1)
    made.settimeout(SECONDS)
    return made


def accepted(listener):
    """The worker's end."""
    with listener:
        return listener.accept()[0]


DRAIN, CONTINUE, TERMINATE = signal.SIGUSR2, signal.SIGCONT, signal.SIGUSR1
