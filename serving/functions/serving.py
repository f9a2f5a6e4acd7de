"""``millrace serve``: a function from a file behind HTTP, in one process or several."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ...errors import CannotListen, GraphError, MillraceError, near
from ..doors.http import MAX_BODY_BYTES, HttpServer, HttpSettings
from ..doors.http_run import run
from ..engine.names import Source
from .example import command_to_try
from .function import ServingFunction
from .load import load_target
from .logs import set_up_logging
from .real import StreamsAt
from .runtime import make_engine
from .triggers import port_to_serve


@dataclass(frozen=True, slots=True)
class _Job:
    """What a process serves, and how; crosses to worker processes as JSON."""

    target: str
    trusted: bool = False
    max_in_flight: int | None = None
    current_function: str = "*"
    streams: str | None = None
    http: HttpSettings = field(default_factory=HttpSettings)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> _Job:
        values = json.loads(text)
        return cls(**{**values, "http": HttpSettings(**values["http"])})


def serve(
    target: str,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    workers: int = 1,
    max_in_flight: int | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    request_timeout_seconds: float = 60.0,
    drain_seconds: float = 30.0,
    access_log: bool = False,
    verbose: bool = False,
    trusted: bool = False,
    current_function: str = "*",
    streams: str | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> int:
    """Serve the function in ``FILE[:NAME]`` over HTTP until SIGTERM or SIGINT, then drain.

    :param port: 0 takes a free one; default: that of the function's ``http`` trigger, or 8080
    :param workers: processes that share the port; each loads the function, and one that dies is started again
    :param max_in_flight: events in one process at a time, over which requests get 429
    :param trusted: unpickle objects of a YAML file, which runs code
    :param current_function: run only the steps of this child function; ``""`` is the parent, ``"*"`` all in one
    :param streams: the folder of the queues without an address, as embedded logs; default: they are in memory
    :param on_ready: called with the URL when the server takes requests, instead of printing it with a line to try
    :return: the exit code: 0 after a signal, 1 where the port is taken or a worker does not start
    :raises GraphError: the file, the function or its graph is wrong
    """
    set_up_logging(verbose=verbose)
    loaded = load_target(target, trusted=trusted) if workers == 1 or port is None else None
    port = port_to_serve({} if loaded is None else loaded[0].spec.triggers, port)
    settings = HttpSettings(
        host=host, port=port, max_body_bytes=max_body_bytes, request_timeout_seconds=request_timeout_seconds,
        drain_seconds=drain_seconds, access_log=access_log, reuse_port=workers > 1, verbose=verbose,
    )  # fmt: skip
    job = _Job(target, trusted, max_in_flight, current_function, streams, settings)
    if workers > 1 or loaded is None:
        return _serve_in_workers(job, workers, on_ready)

    def announce(server: HttpServer, name: str) -> None:
        _tell(_told(server, name), 1, on_ready)

    return _serve_here(job, loaded, announce)


def _serve_here(
    job: _Job,
    loaded: tuple[ServingFunction, list[Source]],
    announce: Callable[[HttpServer, str], None],
    *,
    worker: int = 0,
    lifeline: int | None = None,
) -> int:
    function, sources = loaded
    _check_part(function, job.current_function)
    engine, streams = make_engine(
        function, sources, max_in_flight=job.max_in_flight, verbose=job.http.verbose or None,
        current_function=job.current_function, streams_at=StreamsAt(Path(job.streams) if job.streams else None),
    )  # fmt: skip
    engine.context.worker_id = worker
    return run(
        engine, streams, settings=job.http, on_ready=lambda server: announce(server, function.name), lifeline=lifeline
    )


def _check_part(function: ServingFunction, name: str) -> None:
    """Refuse a child function that there is not."""
    children = list(function.spec.functions)
    if name not in ("*", "", *children):
        hint = near(name, children) or f"; there are {', '.join(children) or 'none'}"
        raise GraphError(f"function '{function.name}' has no child function '{name}'{hint}")


def _serve_in_workers(job: _Job, workers: int, on_ready: Callable[[str], None] | None) -> int:
    if not hasattr(socket, "SO_REUSEPORT"):
        print("millrace: several workers can not share a port on this system; use --workers 1", file=sys.stderr)
        return 1
    from ..doors.http_port import reserve_port  # noqa: PLC0415 - for start-up: only for several workers

    try:
        held = reserve_port(job.http.host, job.http.port)
    except CannotListen as error:
        print(f"millrace: {error}", file=sys.stderr)
        return 1
    with held:
        job = replace(job, http=replace(job.http, port=held.getsockname()[1]))
        import asyncio  # noqa: PLC0415 - for start-up: only for several workers

        return asyncio.run(_supervise(job, workers, on_ready))


async def _supervise(job: _Job, workers: int, on_ready: Callable[[str], None] | None) -> int:
    from ..doors.fleet import Fleet, Member  # noqa: PLC0415 - for start-up: only for several workers

    # Not this process's own command: that may be anything which calls serve().
    code = f"import sys; from {__name__} import run_worker; sys.exit(run_worker(*sys.argv[1:]))"
    command = [sys.executable, "-c", code, job.to_json()]
    fleet = Fleet(
        [Member(f"worker {number}", command, number) for number in range(workers)],
        drain_seconds=job.http.drain_seconds,
        on_ready=lambda told: _tell(told, workers, on_ready),
    )
    return await fleet.run()


def run_worker(job_text: str, place_text: str) -> int:
    """Serve as one of several processes; the supervisor calls it."""
    job, place = _Job.from_json(job_text), json.loads(place_text)
    set_up_logging(verbose=job.http.verbose)

    def announce(server: HttpServer, name: str) -> None:
        with os.fdopen(place["ready_fd"], "w") as ready:
            ready.write(json.dumps(_told(server, name)) + "\n")

    try:
        loaded = load_target(job.target, trusted=job.trusted)
        return _serve_here(job, loaded, announce, worker=place["worker"], lifeline=sys.stdin.fileno())
    except Exception as error:
        # The last place in this process: as on the command line, one line, and a traceback for who wants it.
        if job.http.verbose:
            raise
        print(f"millrace: {error if isinstance(error, MillraceError) else repr(error)}", file=sys.stderr)
        return 1


def _told(server: HttpServer, name: str) -> dict[str, str]:
    """What is said of a function when it is served."""
    return {"name": name, "url": server.url, "example": command_to_try(server.engine, server.url)}


def _tell(told: dict[str, str], workers: int, on_ready: Callable[[str], None] | None) -> None:
    if on_ready is not None:
        on_ready(told["url"])
        return
    print(f"serving {told['name']} on {told['url']} ({workers} worker{'s' if workers > 1 else ''})", flush=True)
    if told["example"]:
        print(f"try: {told['example']}", flush=True)
