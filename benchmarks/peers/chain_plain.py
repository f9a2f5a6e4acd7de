"""Plain Python, the floors: `chain_plain.py loop | calls | event | coroutines`."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

from line_protocol import serve


class Event:
    """What an engine must at least make per event."""

    __slots__ = ("body", "id", "path", "time")

    def __init__(self, body: int) -> None:
        self.body = body
        self.id = self.path = self.time = None


def nested(steps: int) -> Callable[[int], int]:
    """Functions that call one another, as hand-written middleware would: each calls the one before, then its step."""
    chain: Callable[[int], int] = lambda x: x  # noqa: E731 - the same kind of function as the steps
    for _ in range(steps):
        chain = (lambda before, step: lambda x: step(before(x)))(chain, lambda x: x + 1)
    return chain


def loop(events: int, *, steps: int) -> tuple[float, int]:
    """No call but the steps' own."""
    functions = [lambda x: x + 1 for _ in range(steps)]
    total = 0
    start = time.perf_counter()
    for number in range(events):
        x = number
        for function in functions:
            x = function(x)
        total += x
    return time.perf_counter() - start, total


def calls(events: int, *, steps: int) -> tuple[float, int]:
    chain = nested(steps)
    total = 0
    start = time.perf_counter()
    for number in range(events):
        total += chain(number)
    return time.perf_counter() - start, total


def event(events: int, *, steps: int) -> tuple[float, int]:
    chain = nested(steps)
    total = 0
    start = time.perf_counter()
    for number in range(events):
        one = Event(number)
        one.body = chain(one.body)
        total += one.body
    return time.perf_counter() - start, total


def coroutines(events: int, *, steps: int) -> tuple[float, int]:
    async def first(x: int) -> int:
        return x

    def following(before: Callable[[int], Awaitable[int]]) -> Callable[[int], Awaitable[int]]:
        async def step(x: int) -> int:
            return await before(x) + 1

        return step

    async def run() -> tuple[float, int]:
        chain = first
        for _ in range(steps):
            chain = following(chain)
        total = 0
        start = time.perf_counter()
        for number in range(events):
            total += await chain(number)
        return time.perf_counter() - start, total

    return asyncio.run(run())


FLOORS = {
    "loop": {"awaited": loop, "many": loop, "thread": loop},
    "calls": {"awaited": calls, "many": calls, "thread": calls},
    "event": {"awaited": event, "many": event, "thread": event},
    "coroutines": {"awaited": coroutines},
}
serve(FLOORS[sys.argv[1]])
