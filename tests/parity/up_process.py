"""A graph under `millrace up`: the command with a file, in processes of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cloudpickle

SECONDS = 30
PROGRAM = """\
from pathlib import Path

import cloudpickle

function = cloudpickle.loads(Path(__file__).with_suffix(".pickle").read_bytes())()
"""


class Up:
    """`millrace up FILE`, once its server answers.

    :param pickled: what makes the function, with its steps' code
    :ivar url: of the parent's server
    """

    def __init__(self, pickled, folder):
        file = Path(folder, "function.py")
        file.write_text(PROGRAM)
        file.with_suffix(".pickle").write_bytes(pickled)
        self._output = file.with_suffix(".log")
        command = [sys.executable, "-m", "millrace", "up", file, "--port", "0", "--status-seconds", "0"]
        with self._output.open("w") as output:  # no pipe: nobody reads it while it runs
            self.process = subprocess.Popen(
                [*command, "--streams", folder], cwd=folder, stdout=output, stderr=subprocess.STDOUT
            )
        self.url = self._until_it_serves()

    def _until_it_serves(self):
        end = time.monotonic() + SECONDS
        while not (found := re.search(r"is up: .*?(http://[^,\s]+)", self._output.read_text())):
            assert self.process.poll() is None and time.monotonic() < end, self._output.read_text()
            time.sleep(0.01)
        return found[1]

    def stop(self):
        """Let it drain; :meth:`wait` for its end."""
        self.process.terminate()

    def wait(self):
        """Its end has to be a good one."""
        assert self.process.wait(SECONDS) == 0, self._output.read_text()


class Running:
    """Those that run: tests that ask the same graph share one, and few run at a time."""

    def __init__(self, most=3):
        self._most = most
        self._running = {}
        self._stopped = []

    def of(self, make):
        """The one that runs what `make` makes."""
        pickled = pickle_of(make)
        if pickled not in self._running and len(self._running) == self._most:
            self._stop(next(iter(self._running)))  # the one that was asked for longest ago
        found = self._running.pop(pickled, None) or self._started(pickled)
        self._running[pickled] = found
        return found[0]

    @staticmethod
    def _started(pickled):
        folder = TemporaryDirectory(prefix="parity-")
        return Up(pickled, folder.name), folder

    def _stop(self, pickled):
        found = self._running.pop(pickled)
        found[0].stop()
        self._stopped.append(found)

    def close(self):
        """End all."""
        for pickled in list(self._running):
            self._stop(pickled)
        stopped, self._stopped = self._stopped, []
        for one, folder in stopped:
            one.wait()
            folder.cleanup()


RUNNING = Running()


def pickle_of(make):
    """What makes a function, with all code of its test that it needs: no other process can import tests."""
    module = sys.modules[make.__module__]
    cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps(make)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
