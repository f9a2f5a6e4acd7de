"""``millrace up``: a function and its child functions, each in processes of its own, joined by the graph's streams."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import GraphError, MillraceError, near
from ..doors.fleet import Fleet, Member
from ..doors.http_port import reserve_port
from ..doors.queue_steps import queue_problems, queue_steps
from ..doors.stopping import StopRequest
from ..doors.stream_run import run_streams
from ..doors.streams import RealStreams
from ..doors.wiring import Wire, Wiring
from ..engine.engine import Engine
from ..graph.catching import catching_problems
from ..graph.checks import problems, raise_first
from .example import command_to_try
from .function import ServingFunction
from .load import load_target
from .logins import keep_logins
from .logs import set_up_logging
from .real import DEFAULT_FOLDER, StreamsAt
from .runtime import make_engine
from .status import Table
from .triggers import cron_triggers, http_port, port_to_serve, stream_triggers

logger = logging.getLogger("millrace.workers")

PARENT = ""
TELL_SECONDS = 1.0
MEASURE_SECONDS = 5.0

Status = Callable[[], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Job:
    """What a process runs, and how; crosses to it as JSON.

    :param port: of its HTTP server; ``None``: it has none
    """

    target: str
    function: str
    folder: str
    host: str
    port: int | None
    drain_seconds: float
    trusted: bool
    verbose: bool


def up(
    target: str,
    *,
    replicas: Mapping[str, int] | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    streams: str | None = None,
    status_seconds: float = 10.0,
    drain_seconds: float = 30.0,
    trusted: bool = False,
    verbose: bool = False,
) -> int:
    """Run the function in ``FILE[:NAME]`` and its child functions until SIGTERM or SIGINT, then drain them.

    :param replicas: how many processes run a child function; one for those not named
    :param port: of the parent function; 0 takes a free one; default: that of its ``http`` trigger, or 8080. A child
        with an ``http`` trigger has the port it names, which its replicas share
    :param streams: the folder of the queues without an address; default: ``.millrace/streams``
    :param status_seconds: how often the table is printed when it has changed; 0 is never
    :return: the exit code
    :raises GraphError: the file, the function or its graph is wrong, or `replicas` names no child function
    :raises CannotListen: a port is taken
    """
    set_up_logging(verbose=verbose)
    function, _ = load_target(target, trusted=trusted)
    _check(function)
    folder = str(Path(streams or DEFAULT_FOLDER).absolute())
    counts = _counts(function, replicas or {})
    with ExitStack() as held:
        members = []
        for name, count in counts.items():
            wanted = _port(function, name, port)
            # A port is kept here, so that a process which is started again has the same, and replicas share one.
            kept = None if wanted is None else held.enter_context(reserve_port(host, wanted)).getsockname()[1]
            job = _Job(target, name, folder, host, kept, drain_seconds, trusted, verbose)
            members += [_member(job, function, number) for number in range(count)]
        table = Table(members)

        def on_ready(told: dict[str, Any]) -> None:
            print(f"{function.name} is up: {len(members)} processes, {told['url']}, streams in {folder}", flush=True)
            for member in members[1:]:
                if member.told["url"] and member.number == 0:
                    print(f"{member.name.partition('/')[0]} is at {member.told['url']}", flush=True)
            if told["example"]:
                print(f"try: {told['example']}", flush=True)

        fleet = Fleet(members, drain_seconds=drain_seconds, on_ready=on_ready, on_output=table.log)
        return asyncio.run(_run(fleet, table, status_seconds))


def _check(function: ServingFunction) -> None:
    """Find what can be found to be wrong before any process is started."""
    graph = function.graph
    keep_logins(function.spec)
    raise_first([
        *problems(graph, function.spec.functions), *queue_problems(graph, function.name), *catching_problems(graph),
    ])  # fmt: skip
    wiring = Wiring(function.name, folder=Path(DEFAULT_FOLDER), secret=lambda name: "")
    wires = [wiring.of_step(step) for step in queue_steps(graph)]
    for name, one in {PARENT: function, **function.spec.functions}.items():
        wires += stream_triggers(one.spec.triggers, replace(wiring, current=name))
        cron_triggers(one.spec.triggers)
    if function.spec.functions:
        _check_reach(wires)


def _check_reach(wires: Iterable[Wire]) -> None:
    """Refuse queues that only one of several processes would see."""
    for wire in wires:
        for url in (wire.url, wire.dead_letters):
            if url.startswith("memory://"):
                raise GraphError(
                    f"'{wire.name}': {url} is in the memory of one process, and each function has a process of its own "
                    "here: leave the address out, for an embedded log, or give log:///folder/topic; `millrace serve` "
                    "runs all functions in one process"
                )


async def _run(fleet: Fleet, table: Table, status_seconds: float) -> int:
    def is_worth_showing() -> bool:
        return fleet.was_ready and not fleet.is_stopping

    async def show() -> None:
        try:
            await table.show_now_and_then(status_seconds, is_worth_showing)
        except BrokenPipeError:  # whoever read it has gone
            fleet.stop()

    showing = asyncio.get_running_loop().create_task(show())
    try:
        return await fleet.run()
    finally:
        showing.cancel()
        if status_seconds and fleet.was_ready:
            table.show()


def _counts(function: ServingFunction, replicas: Mapping[str, int]) -> dict[str, int]:
    """How many processes each function has; the parent has one, `--workers` of ``serve`` gives it more elsewhere."""
    children = list(function.spec.functions)
    for name in replicas:
        if name not in children:
            known = f"; there are {', '.join(children)}" if children else "; it has none"
            hint = near(name, children) or known
            raise GraphError(f"function '{function.name}' has no child function '{name}'{hint}")
    return {PARENT: 1, **{name: replicas.get(name, 1) for name in children}}


def _port(function: ServingFunction, name: str, port: int | None) -> int | None:
    """The port of a function's HTTP server; ``None`` where it has none."""
    if name == PARENT:
        return port_to_serve(function.spec.triggers, port)
    return http_port(function.spec.functions[name].spec.triggers)


def _member(job: _Job, function: ServingFunction, number: int) -> Member:
    code = f"import sys; from {__name__} import run_member; sys.exit(run_member(*sys.argv[1:]))"
    name = f"{job.function or function.name}/{number}"
    return Member(name, [sys.executable, "-u", "-c", code, json.dumps(asdict(job))], number)


def run_member(job_text: str, place_text: str) -> int:
    """Run one function as a process of the fleet, which calls it."""
    job, place = _Job(**json.loads(job_text)), json.loads(place_text)
    set_up_logging(verbose=job.verbose)
    tell = _Telling(place["ready_fd"])
    try:
        return _run_member(job, place["worker"], tell)
    except Exception as error:
        # The last place in this process: as on the command line, one line, and a traceback for who wants it.
        if job.verbose:
            raise
        print(f"millrace: {error if isinstance(error, MillraceError) else repr(error)}", file=sys.stderr)
        return 1
    finally:
        tell.close()


def _run_member(job: _Job, worker: int, tell: _Telling) -> int:
    function, sources = load_target(job.target, trusted=job.trusted)
    engine, streams = make_engine(
        function, sources, current_function=job.function, verbose=job.verbose or None,
        streams_at=StreamsAt(Path(job.folder), RealStreams),
    )  # fmt: skip
    assert isinstance(streams, RealStreams)  # noqa: S101 - as `streams_at` says
    engine.context.worker_id = worker
    lifeline = sys.stdin.fileno()
    if job.port is None:
        return run_streams(
            engine, streams, drain_seconds=job.drain_seconds, lifeline=lifeline,
            on_ready=lambda: tell.begin({"url": "", "example": ""}, engine, streams, lambda: 0),
        )  # fmt: skip

    # Only processes with a port pay for the HTTP server, which takes half of the time that they need to start.
    from ..doors.http import HttpSettings  # noqa: PLC0415
    from ..doors.http_run import running  # noqa: PLC0415

    settings = HttpSettings(
        host=job.host, port=job.port, drain_seconds=job.drain_seconds, verbose=job.verbose, reuse_port=True
    )  # fmt: skip
    with StopRequest(job.drain_seconds) as stop:
        # It is started again, and reads again where it stopped.
        streams.on_fault = lambda error: stop.request()
        with running(engine, streams, settings=settings) as server:
            first = {"url": server.url, "example": command_to_try(engine, server.url)}
            tell.begin(first, engine, streams, lambda: server.asked)
            stop.wait(lifeline)
    return 1 if streams.faults else 0


class _Telling:
    """Tells the fleet how the process does: at once when it serves, then every second, and at the end."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", buffering=1)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(
        self, first: dict[str, Any], engine: Engine, streams: RealStreams, asked: Callable[[], int]
    ) -> None:  # fmt: skip
        def status(found: dict[str, Any]) -> dict[str, Any]:
            return first | found | {"errors": len(engine.errors), "asked": asked()}

        def measured() -> dict[str, Any]:
            return status(engine.thread.call(streams.measured(), MEASURE_SECONDS))

        arguments = (first, measured, lambda: status(streams.status()))
        self._thread = threading.Thread(target=self._tell, args=arguments, daemon=True, name="millrace-status")
        self._thread.start()

    def _tell(self, first: dict[str, Any], measured: Status, last: Status) -> None:
        try:
            self._write(first)
            while not self._ended.wait(TELL_SECONDS):
                self._write(_measured_or(measured, last))
            self._write(last())
        except OSError as error:  # the fleet is gone
            logger.debug("no status is told any more: %s", error)

    def _write(self, status: dict[str, Any]) -> None:
        self._file.write(json.dumps(status) + "\n")

    def close(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(TELL_SECONDS)


def _measured_or(measured: Status, last: Status) -> dict[str, Any]:
    """The status with lags that were measured just now, or else those measured last."""
    try:
        return measured()
    except Exception as error:  # a broker that does not answer, or a loop that has ended
        logger.debug("the lags can not be measured: %s", error)
        return last()
