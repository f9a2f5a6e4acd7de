"""Tables, times and texts for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell; numbers to the right.

    >>> print_table(["topic", "messages"], [["orders", 1200]])
    topic   messages
    orders     1,200
    """
    lines = [list(header), *([_cell(cell) for cell in row] for row in rows)]
    numeric = [all(_is_number(line[i]) for line in lines[1:]) for i in range(len(header))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def _is_number(text: str) -> bool:
    return text.replace(",", "").isdecimal() or text == "-"


def moment(timestamp: float) -> str:
    """A time in this machine's zone, to the millisecond."""
    return datetime.fromtimestamp(timestamp).isoformat(sep=" ", timespec="milliseconds")


def printable(text: str) -> str:
    """A text of others on one line, which moves no cursor and changes no colours.

    >>> printable("a\\nb\\x1b[31m")
    'a\\\\nb\\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def counted(number: int, one: str) -> str:
    """How many of what, for people.

    >>> counted(1, "message"), counted(2500, "dead letter")
    ('1 message', '2,500 dead letters')
    """
    return f"{number:,} {one}{'' if number == 1 else 's'}"
