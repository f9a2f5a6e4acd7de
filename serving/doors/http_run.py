"""Serving until told to stop: by the end of a ``with``, by a signal, or by the end of the parent process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...errors import CannotListen
from ..engine.engine import Engine
from .http import HttpServer, HttpSettings
from .queues import Streams
from .stopping import StopRequest
from .tuning import tune_process

logger = logging.getLogger("millrace.http")


@contextmanager
def running(
    engine: Engine, streams: Streams | None = None, *, settings: HttpSettings | None = None
) -> Iterator[HttpServer]:
    """Serve an engine over HTTP in the background of this program, on the engine's own loop.

    At the end the server drains, and the engine is closed.

    :raises CannotListen: the port is taken, or the host is no address of this machine

    >>> import millrace
    >>> from urllib.request import urlopen
    >>> function = millrace.new_function("hello")
    >>> _ = function.set_topology("flow").to(name="hello", handler="('hello')").respond()
    >>> with running(function.to_mock_server().engine, settings=HttpSettings(port=0)) as server:
    ...     urlopen(f"{server.url}/greeting").read()
    b'hello'
    """
    server = HttpServer(engine, streams, settings=settings)
    try:
        try:
            engine.thread.call(server.start())
        except OSError as error:
            raise CannotListen(server.settings.host, server.settings.port, error) from error
        yield server
        if not engine.thread.call(server.drain()):
            logger.warning("events were not done after %g s of draining", server.settings.drain_seconds)
    finally:
        engine.thread.call(server.stop())  # also after a start that failed: its streams may be open
        engine.close()


def run(
    engine: Engine,
    streams: Streams | None = None,
    *,
    settings: HttpSettings | None = None,
    on_ready: Callable[[HttpServer], None] | None = None,
    lifeline: int | None = None,
) -> int:
    """Serve an engine until SIGTERM or SIGINT, then drain. A second signal ends the process at once.

    :param on_ready: called when the port is open
    :param lifeline: a file descriptor; its end, which is that of the parent process, stops the server too
    :return: the exit code
    """
    settings = settings or HttpSettings()
    with StopRequest(settings.drain_seconds) as stop:
        try:
            with running(engine, streams, settings=settings) as server:
                tune_process()
                if on_ready is not None:
                    on_ready(server)
                stop.wait(lifeline)
        except CannotListen as error:
            print(f"millrace: {error}", file=sys.stderr)
            return 1
    return 0
