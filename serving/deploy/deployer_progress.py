"""Telling how a deployment goes: every change of state, and the lines of the build log as they come."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Write = Callable[[str], None]
CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


def to_stderr(line: str) -> None:
    """Write one line on the standard error output."""
    print(line, file=sys.stderr, flush=True)


class Progress:
    """Writes what is new about a function since it was told last.

    :param write: takes one line
    :param is_detailed: also the lines of the build log
    :param mask: takes the values of secrets out of a text

    >>> progress = Progress(print)
    >>> progress.tell("hello", {"state": "building", "logs": []})
    hello: building
    >>> progress.tell("hello", {"state": "building", "logs": []})
    >>> progress.tell("hello", {"state": "ready", "logs": []})
    hello: ready
    """

    def __init__(
        self, write: Write = to_stderr, *, is_detailed: bool = False, mask: Callable[[str], str] | None = None
    ) -> None:
        self.mask = mask or (lambda text: text)
        self._write = write
        self._is_detailed = is_detailed
        self._states: dict[str, str] = {}
        self._told: dict[str, int] = {}

    def tell(self, name: str, status: Mapping[str, Any]) -> None:
        """Look at a function's status."""
        lines = log_lines(status)
        # A deployment that begins again has a new, shorter log.
        told = self._told.get(name, 0) if len(lines) >= self._told.get(name, 0) else 0
        self._told[name] = len(lines)
        for line in lines[told:]:
            self.detail(name, line)
        state = str(status.get("state") or "unknown")
        if self._states.get(name) != state:
            self._states[name] = state
            self.say(name, state)

    def detail(self, name: str, line: str) -> None:
        """Write a line of a build log, where such are asked for."""
        if self._is_detailed:
            self.say(name, f"| {line}")

    def say(self, name: str, text: str) -> None:
        """Write a line about a function."""
        self._write(self.mask(f"{name}: {text}"))


def log_lines(status: Mapping[str, Any]) -> list[str]:
    """The build log in a function's status, a line of text for each line; times are UTC.

    >>> log_lines({"logs": [{"time": 1000.0, "level": "info", "message": "Building", "name": "deployer"}]})
    ['00:00:01 info Building']
    """
    entries = status.get("logs")
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        return []
    return [line for entry in entries if isinstance(entry, Mapping) for line in _lines(entry)]


def _lines(entry: Mapping[str, Any]) -> list[str]:
    time, level = entry.get("time"), entry.get("level")
    head = []
    if isinstance(time, (int, float)):
        head.append(datetime.fromtimestamp(time / 1000, UTC).strftime("%H:%M:%S"))
    if level:
        head.append(str(level))
    text = str(entry.get("message") or "")
    if error := entry.get("err") or entry.get("error"):
        text = f"{text}: {error}"
    return [" ".join([*head, line]) for line in plain(text)]


def plain(text: str) -> list[str]:
    """The lines of a text that a program wrote for a terminal, without colours and empty ones.

    >>> plain("\\x1b[32mdone\\x1b[0m\\n\\n")
    ['done']
    """
    return [line for line in (CONTROL.sub("", one).rstrip() for one in text.splitlines()) if line]
