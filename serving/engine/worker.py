"""The program of a worker process: makes a step's function once, then answers calls until its input ends."""

from __future__ import annotations

import os
import sys
from typing import Any

from .processes import read_frame, write_frame


def main() -> None:
    """Serve one parent over stdin and stdout; what the step prints goes to stderr."""
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdin = open(os.devnull)  # noqa: SIM115 - for the life of the process
    try:
        function = read_frame(incoming)()
    except Exception as error:
        write_frame(outgoing, (False, _sendable(error)))
        return
    write_frame(outgoing, (True, None))
    while True:
        try:
            args = read_frame(incoming)
        except EOFError:
            return
        write_frame(outgoing, _answer(function, args))


def _answer(function: Any, args: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        result = function(*args)
    except Exception as error:
        return False, _sendable(error)
    return True, result


def _sendable(error: Exception) -> Exception:
    import pickle  # noqa: PLC0415

    try:
        rebuilt = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes, to see whether they come back
        return error if isinstance(rebuilt, type(error)) else RuntimeError(str(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
