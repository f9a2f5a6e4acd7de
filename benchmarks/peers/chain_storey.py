"""Chains of storey `Map` steps. Every step has a name of its own, which is storey's best case: more than two steps
that share the default name make it start a task per hop."""

import asyncio
import time

from line_protocol import serve, versions_of
from storey import AsyncEmitSource, Complete, Map, Reduce, SyncEmitSource, build_flow


def maps(steps: int) -> list[Map]:
    return [Map(lambda x: x + 1, name=f"s{number}") for number in range(steps)]


def awaited(events: int, *, steps: int) -> tuple[float, int]:
    async def run() -> tuple[float, int]:
        flow = build_flow([AsyncEmitSource(), *maps(steps), Complete()]).run()
        await flow.emit(0)
        total = 0
        start = time.perf_counter()
        for number in range(events):
            total += await flow.emit(number)
        seconds = time.perf_counter() - start
        await flow.terminate(wait=True)
        return seconds, total

    return asyncio.run(run())


def many(events: int, *, steps: int) -> tuple[float, int]:
    """Emitted without waiting for each; done when the flow has reduced them all."""

    async def run() -> tuple[float, int]:
        flow = build_flow([AsyncEmitSource(), *maps(steps), Reduce(0, lambda total, x: total + x)]).run()
        start = time.perf_counter()
        for number in range(events):
            await flow.emit(number)
        total = await flow.terminate(wait=True)
        return time.perf_counter() - start, total

    return asyncio.run(run())


def thread(events: int, *, steps: int) -> tuple[float, int]:
    flow = build_flow([SyncEmitSource(), *maps(steps), Complete()]).run()
    flow.emit(0).await_result()
    total = 0
    start = time.perf_counter()
    for number in range(events):
        total += flow.emit(number).await_result()
    seconds = time.perf_counter() - start
    flow.terminate(wait=True)
    return seconds, total


serve({"awaited": awaited, "many": many, "thread": thread}, versions=versions_of("storey"))
