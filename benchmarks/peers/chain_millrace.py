"""Millrace's side of `chain.py`: the same chain through the lean entries of the in-process server."""

import asyncio
import time
from typing import Any

from line_protocol import serve, versions_of

import millrace


class Total:
    """The last step of a chain without a responder: adds up what arrives."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, x: int) -> int:
        self.value += x
        return x


def server_of(steps: int, *, engine: str, last: Total | None = None) -> Any:
    function = millrace.new_function("bench", kind="serving")
    step = function.set_topology("flow", engine=engine)
    for number in range(steps):
        step = step.to(name=f"s{number}", handler=lambda x: x + 1)
    if last is None:
        step.respond()
    else:
        step.to(name="total", handler=last.add)
    return function.to_mock_server()


def awaited(events: int, *, steps: int) -> tuple[float, int]:
    async def run() -> tuple[float, int]:
        server = server_of(steps, engine="async")
        await server.aemit(0)
        total = 0
        start = time.perf_counter()
        for number in range(events):
            total += await server.aemit(number)
        return time.perf_counter() - start, total

    return asyncio.run(run())


def many(events: int, *, steps: int) -> tuple[float, int]:
    """Nobody waits for an answer; done when every event has completed."""

    async def run() -> tuple[float, int]:
        last = Total()
        server = server_of(steps, engine="async", last=last)
        start = time.perf_counter()
        for number in range(events):
            await server.aemit(number)
        server.wait_for_completion()
        return time.perf_counter() - start, last.value

    return asyncio.run(run())


def thread(events: int, *, steps: int) -> tuple[float, int]:
    server = server_of(steps, engine="sync")
    server.emit(0)
    total = 0
    start = time.perf_counter()
    for number in range(events):
        total += server.emit(number)
    return time.perf_counter() - start, total


serve({"awaited": awaited, "many": many, "thread": thread}, versions=versions_of("millrace"))
