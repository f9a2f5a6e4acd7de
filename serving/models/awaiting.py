"""Joining plain and async methods: a result that may have to be awaited, awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any


async def settled(result: Any) -> Any:
    """The result itself, or what it becomes when it is awaited."""
    return await result if isawaitable(result) else result


def awaiting(fn: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """A coroutine function of any function; for a plain ``do_event`` whose ``super().do_event()`` has to be awaited.

    >>> import asyncio
    >>> asyncio.run(awaiting(len)("four"))
    4
    """

    async def call(*args: Any, **kwargs: Any) -> Any:
        return await settled(fn(*args, **kwargs))

    return call
