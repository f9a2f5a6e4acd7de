"""A process that reads streams and has no port: until it is told to stop, or a stream stops it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..engine.engine import Engine
from .stopping import StopRequest
from .streams import RealStreams
from .tuning import tune_process

logger = logging.getLogger("millrace.stream")


def run_streams(
    engine: Engine,
    streams: RealStreams,
    *,
    drain_seconds: float = 30.0,
    on_ready: Callable[[], None] | None = None,
    lifeline: int | None = None,
) -> int:
    """Read until SIGTERM or SIGINT, then drain and commit. A second signal ends the process at once.

    :param on_ready: called when all streams are open
    :param lifeline: a file descriptor; its end, which is that of the parent process, stops the reading too
    :return: the exit code: 1 where a message that may not be skipped stopped a stream
    :raises Unavailable: a stream can not be opened
    """
    streams.drain_seconds = drain_seconds
    with StopRequest(drain_seconds) as stop:
        streams.on_fault = lambda error: stop.request()
        try:
            engine.thread.call(_start(engine, streams))
            tune_process()
            if on_ready is not None:
                on_ready()
            stop.wait(lifeline)
            if not engine.thread.call(_drain(engine, streams, drain_seconds)):
                logger.warning("events were not done after %g s of draining", drain_seconds)
        finally:
            engine.thread.call(streams.close())
            engine.close()
    return 1 if streams.faults else 0


async def _start(engine: Engine, streams: RealStreams) -> None:
    await engine.start()
    engine.backlog = lambda: streams.backlog
    await streams.start(engine)


async def _drain(engine: Engine, streams: RealStreams, seconds: float) -> bool:
    end = time.monotonic() + seconds
    await streams.end_reading()
    return await engine.drain(max(0.1, end - time.monotonic()))
