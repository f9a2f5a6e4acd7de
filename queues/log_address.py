"""The address of a place of the embedded log."""

from __future__ import annotations

from pathlib import Path

ESCAPED = str.maketrans({"%": "%25", "#": "%23", "?": "%3F"})
"""What means something else in an address; the rest stays as a person reads it."""


def log_address(path: Path) -> str:
    """The address of a directory.

    >>> log_address(Path("/home/ann/shop #2/orders"))
    'log:///home/ann/shop %232/orders'
    """
    return f"log://{str(path.absolute()).translate(ESCAPED)}"
