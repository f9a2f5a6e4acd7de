"""The program of a worker process: makes a step's function once, then answers calls until its input ends."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle

from .processes import read_frame, write_frame


def main() -> None:
    """Serve one parent over stdin and stdout; what the step prints goes to stderr."""
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdin = open(os.devnull)  # noqa: SIM115 - for the life of the process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process when it is done
    function: Callable[..., Any] | None = None

    def make(payload: bytes) -> None:
        nonlocal function
        function = cloudpickle.loads(payload)()

    def call(payload: bytes) -> Any:
        assert function is not None  # noqa: S101 - the parent sends no call before the answer to the first frame
        return function(*cloudpickle.loads(payload))

    with contextlib.suppress(EOFError, BrokenPipeError):
        write_frame(outgoing, _answer(make, read_frame(incoming)))
        while function is not None:
            write_frame(outgoing, _answer(call, read_frame(incoming)))


def _answer(work: Callable[[bytes], Any], payload: bytes) -> bytes:
    """Whether it worked, and the result or error."""
    try:
        result = work(payload)
    except Exception as error:
        return cloudpickle.dumps((False, _sendable(error)))  # type: ignore[no-any-return]
    try:
        return cloudpickle.dumps((True, result))  # type: ignore[no-any-return]
    except Exception as error:
        kind = type(result).__name__
        return cloudpickle.dumps((False, TypeError(f"the result, a {kind}, can not leave the step's process: {error}")))  # type: ignore[no-any-return]


def _sendable(error: Exception) -> Exception:
    try:
        rebuilt = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes, to see whether they come back
        return error if isinstance(rebuilt, type(error)) else RuntimeError(str(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
