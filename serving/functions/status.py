"""What ``millrace up`` prints: the members' output with a prefix each, and a table of how they do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from ..doors.fleet import Member

COLUMNS = ("function", "state", "pid", "in", "done", "out", "lag", "retried", "dead letters", "skipped", "errors",
           "restarts")  # fmt: skip
WORDS = 2  # columns that are text
COLORS = (36, 33, 32, 35, 34, 31)


class Table:
    """Prints for the members of one fleet.

    :param members: in the order of the table's rows
    """

    def __init__(self, members: list[Member]) -> None:
        self._members = members
        self._width = max(len(member.name) for member in members)
        self._shown = ""
        self._colored = sys.stdout.isatty()

    def log(self, member: Member, line: str) -> None:
        """Print a line of a member's output."""
        prefix = f"{member.name:<{self._width}} |"
        if self._colored:
            color = COLORS[self._members.index(member) % len(COLORS)]
            prefix = f"\x1b[{color}m{prefix}\x1b[0m"
        print(prefix, line, flush=True)

    async def show_now_and_then(self, seconds: float, is_worth_showing: Callable[[], bool]) -> None:
        """Print the table every so many seconds, when it has changed."""
        while seconds:
            await asyncio.sleep(seconds)
            if is_worth_showing() and (text := self.text()) != self._shown:
                self.show(text)

    def show(self, text: str | None = None) -> None:
        """Print the table."""
        self._shown = text or self.text()
        print(self._shown, flush=True)

    def text(self) -> str:
        """The table."""
        rows = [COLUMNS, *(row_of(member) for member in self._members)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        return "\n".join(_aligned(row, widths) for row in rows)


def row_of(member: Member) -> tuple[str, ...]:
    """A member's row; the lag is that of its group, whichever member works it off."""
    told: dict[str, Any] = member.told
    read = told.get("read", [])

    def total(name: str) -> int:
        return sum(one[name] for one in read)

    received = total("in") + told.get("asked", 0) + told.get("ticks", 0)
    numbers = (
        received, total("done"), told.get("out", 0), total("lag"), total("retried"), total("dead_letters"),
        total("skipped"), told.get("errors", 0), member.restarts,
    )  # fmt: skip
    pid = str(member.process.pid) if member.process is not None else "-"
    return (member.name, member.state, pid, *(str(number) for number in numbers))


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    cells = zip(row, widths, range(len(row)), strict=True)
    return "  ".join(f"{cell:{'<' if column < WORDS else '>'}{width}}" for cell, width, column in cells).rstrip()
