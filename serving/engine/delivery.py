"""Answers on their way to coroutines: to a future of the engine's loop, or of another one."""

from __future__ import annotations

from typing import Any

from ...deferred import asyncio
from .completion import Deliver
from .stream import StreamAnswer, close_stream


def settler(future: asyncio.Future[Any]) -> Deliver:
    """What sets a future to the answer, on its own loop."""

    def settle(answer: Any, error: BaseException | None) -> None:
        if future.done():
            _forget(answer)
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)

    return settle


def hand_over(loop: asyncio.AbstractEventLoop, settle: Deliver, body: Any, error: BaseException | None) -> None:
    """Settle on another loop."""
    try:
        loop.call_soon_threadsafe(settle, body, error)
    except RuntimeError:  # the caller's loop is closed
        _forget(body)


def _forget(answer: Any) -> None:
    """Nobody will read an answer; where it is a stream, its generator ends."""
    if isinstance(answer, StreamAnswer):
        close_stream(answer)
