"""Running a coroutine that awaits nothing, without a loop: so plain and async models share one code."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any


def run_now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits.

    >>> async def answer():
    ...     return 42
    >>> run_now(answer())
    42
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("this must not wait: make the model's methods async, or none of them")
