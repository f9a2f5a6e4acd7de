"""Which packages a pickled model needs, read from the file without loading it."""

from __future__ import annotations

import importlib.metadata
import pickletools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PICKLES = (".pkl", ".pickle")
LARGEST_BYTES = 256 * 1024 * 1024


def modules_in(file: Path) -> set[str]:
    """The packages installed here whose classes and functions a pickle names; nothing for other files.

    >>> import numpy, pickle, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "m.pkl")
    ...     _ = file.write_bytes(pickle.dumps({"weights": numpy.zeros(3)}))
    ...     modules_in(file)
    {'numpy'}
    """
    if file.suffix not in PICKLES or file.stat().st_size > LARGEST_BYTES:
        return set()
    try:
        found = {name.partition(".")[0] for name in _modules(file.read_bytes())} - sys.stdlib_module_names
    except ValueError:  # compressed, or no pickle at all: only its reader knows
        return set()
    # Old pickles have names of Python 2 for what is built in.
    return found & importlib.metadata.packages_distributions().keys() if found else found


def _modules(content: bytes) -> Iterator[str]:
    """The modules of ``GLOBAL`` and ``STACK_GLOBAL``; see :mod:`pickletools`."""
    texts: list[str] = []
    memo: dict[Any, str] = {}
    last = ""
    for code, argument, _ in pickletools.genops(content):
        if code.name in ("GLOBAL", "INST"):
            yield str(argument).partition(" ")[0]
        elif code.name == "STACK_GLOBAL" and len(texts) > 1:
            yield texts[-2]
        elif code.name == "MEMOIZE":
            memo[len(memo)] = last
        elif code.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = last
        last = ""
        if code.name in ("GET", "BINGET", "LONG_BINGET"):
            last = memo.get(argument, "")
        elif isinstance(argument, str) and "UNICODE" in code.name:
            last = argument
        texts = [*texts[-1:], last] if last else texts
