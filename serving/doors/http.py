"""The HTTP server: one engine on one event loop, behind aiohttp's parser."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ... import __version__
from ..engine.engine import Engine
from ..engine.watchdog import Watchdog
from .http_deadlines import Deadlines
from .http_door import Door
from .http_fast import FastProtocol
from .http_protocol import Protocol, StockHandler
from .http_trial import why_not
from .queues import Streams

logger = logging.getLogger("millrace.http")

BACKLOG = 4096  # with aiohttp's 128 a burst of 1,500 connections waits 1.2 s, with 4,096 half a second
MAX_BODY_BYTES = 64 * 2**20
LINGER_SECONDS = 2.0
LEAST_DRAIN_SECONDS = 0.1  # for what was let go when the streams took all the time
LAST_ASKERS_SECONDS = 0.5
QUIET_SECONDS = 0.05
ACCEPT_TURNS = 5  # of the loop, in which connections that wait at the port come in
# All of stop(), in less than the EXTRA_SECONDS after which a fleet ends a member by force.
STOP_SECONDS = 4.0
LAST_BYTES_SECONDS = 1.5
STEPS_SECONDS = 0.5  # at least, for steps that close what they opened


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How an engine is served over HTTP.

    :param port: 0 takes a free one
    :param max_body_bytes: a larger body, as it came or decompressed, is refused with 413
    :param request_timeout_seconds: for the body to come in (408), and for the answer (504)
    :param keep_alive_seconds: an idle connection is closed after this; more than the 60 s of common load balancers
    :param drain_seconds: how long events may take to end when the server stops
    :param reuse_port: other processes may serve the same port
    :param verbose: errors hold their traceback
    """

    host: str = "127.0.0.1"
    port: int = 8080
    max_body_bytes: int = MAX_BODY_BYTES
    request_timeout_seconds: float = 60.0
    keep_alive_seconds: float = 75.0
    drain_seconds: float = 30.0
    access_log: bool = False
    reuse_port: bool = False
    verbose: bool = False


class HttpServer:
    """Serves an engine over HTTP, on the loop that runs when it is started.

    Every path and method goes to the graph; ``/v2/health/live`` and ``/v2/health/ready`` are answered for every graph.

    :param streams: the in-memory streams of the graph's queues, read while the server runs
    :raises OSError: by :meth:`start`, when the port is taken

    >>> import millrace
    >>> function = millrace.new_function("double")
    >>> _ = function.set_topology("flow").to(name="double", handler="(event * 2)").respond()
    >>> async def serve():
    ...     server = HttpServer(function.to_mock_server().engine, settings=HttpSettings(port=0))
    ...     await server.start()
    ...     await server.stop()
    ...     return server.url
    >>> asyncio.run(serve()).startswith("http://127.0.0.1:")
    True
    """

    def __init__(
        self, engine: Engine, streams: Streams | None = None, *, settings: HttpSettings | None = None
    ) -> None:
        self.engine = engine
        self.settings = settings or HttpSettings()
        if self.settings.verbose:
            engine.context.verbose = True
        self.port = self.settings.port
        self.is_fast = False
        self._streams = streams
        self._door = Door(
            engine, version=__version__, request_timeout_seconds=self.settings.request_timeout_seconds
        )
        self._protocols: _Protocols | None = None
        self._listener: asyncio.Server | None = None
        self._watchdog: Watchdog | None = None

    @property
    def url(self) -> str:
        """Where it listens: ``http://host:port``."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self.port}"

    @property
    def is_listening(self) -> bool:
        """Whether the port is open."""
        return self._listener is not None and self._listener.is_serving()

    @property
    def asked(self) -> int:
        """How many events came in."""
        return self._door.asked

    async def start(self) -> None:
        """Start the engine on this loop and listen."""
        loop = asyncio.get_running_loop()
        await self.engine.start()
        if self._streams is not None:
            streams = self._streams
            self.engine.backlog = lambda: streams.backlog
            streams.drain_seconds = self.settings.drain_seconds
            await streams.start(self.engine)
        self._protocols = _Protocols(self._door, self.settings, loop)
        reason = await why_not(self._protocols)
        self.is_fast = self._protocols.is_fast = reason is None
        if reason is not None:
            logger.warning("the fast path is off, requests take about twice as long: %s", reason)
        settings = self.settings
        self._door.access_log = settings.access_log  # not before, as the trial was no access
        self._listener = await loop.create_server(
            self._protocols, settings.host, settings.port, backlog=BACKLOG, reuse_port=settings.reuse_port or None
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        self._watchdog = Watchdog(loop)
        self._watchdog.start()

    async def drain(self) -> bool:
        """Take no new events and wait for those inside; whether all were done in time.

        The port stays open meanwhile: who asks is told 503, and so is who asks whether the server is ready.
        """
        end = time.monotonic() + self.settings.drain_seconds
        if self._streams is not None:
            self.engine.draining = True  # what comes over HTTP is refused from now on; messages inside go on
            await self._streams.end_reading()
        return await self.engine.drain(max(LEAST_DRAIN_SECONDS, end - time.monotonic()))

    async def stop(self) -> None:
        """Close the port and the connections; answers under way are sent first. It takes 4 s at most."""
        end = time.monotonic() + STOP_SECONDS
        self.engine.draining = True
        if self._listener is not None:
            await _turns(ACCEPT_TURNS)
            self._listener.close()
            await _turns(ACCEPT_TURNS)
        if self._protocols is not None:
            await self._refuse_last_askers(self._protocols)
            await self._protocols.end(LAST_BYTES_SECONDS)
        if self._streams is not None:
            left = end - STEPS_SECONDS - time.monotonic()
            await _within(left, self._streams.close(left), "the streams")
        if self._watchdog is not None:
            self._watchdog.stop()
        await _within(end - time.monotonic(), self.engine.close_steps(), "the steps")

    async def _refuse_last_askers(self, protocols: _Protocols) -> None:
        """Let requests that are on their way come in: each gets an answer, which ends its connection.

        A connection that is closed under a request looks like a crash, and a client can not know what was done.
        """
        end = time.monotonic() + LAST_ASKERS_SECONDS
        asked = -1
        while protocols.connections and asked != self.asked and time.monotonic() < end:
            asked = self.asked
            await asyncio.sleep(QUIET_SECONDS)


async def _turns(count: int) -> None:
    """Let the loop do what is ready, and what comes of it."""
    for _ in range(count):
        await asyncio.sleep(0)


async def _within(seconds: float, closing: Coroutine[Any, Any, None], what: str) -> None:
    try:
        async with asyncio.timeout(seconds):
            await closing
    except TimeoutError:
        logger.error("%s were not closed in time", what)


class _Protocols(web.Server):
    """Makes the protocol of each connection, and ends them."""

    def __init__(self, door: Door, settings: HttpSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._stock_handler = StockHandler(door, max_body_bytes=settings.max_body_bytes)
        super().__init__(self._stock_handler, loop=loop)
        self._door = door
        self._options = {
            "loop": loop, "keepalive_timeout": settings.keep_alive_seconds, "access_log": None,
            "lingering_time": LINGER_SECONDS, "logger": logger, "auto_decompress": False,
        }  # fmt: skip
        self._deadlines = Deadlines(loop, settings.request_timeout_seconds)
        self.is_fast = True

    def __call__(self) -> Protocol:
        if not self.is_fast:
            return Protocol(self, **self._options)
        return FastProtocol(
            self, door=self._door, deadlines=self._deadlines, stock_handler=self._stock_handler, **self._options
        )

    async def end(self, seconds: float) -> None:
        """Let requests under way end, and close all connections."""
        end = time.monotonic() + seconds
        self.pre_shutdown()
        await asyncio.sleep(0)  # answers that were delivered just now are on their way to the sockets
        # Not `self.shutdown`, which forgets connections that are made meanwhile. They are here until all that was
        # written has gone out; clients that do not read are not waited for.
        while (connections := self.connections) and time.monotonic() < end:
            # aiohttp waits so long for the request, and then for its task.
            await asyncio.gather(*(one.shutdown((end - time.monotonic()) / 2) for one in connections))
            await asyncio.sleep(0.01)
        self._deadlines.close()
