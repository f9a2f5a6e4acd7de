"""What lies between a request that has been read and its answer. It knows no sockets and no HTTP library."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from types import TracebackType
from typing import Any

from ...errors import MethodNotAllowed, StepError, StepTimeout, TooManyRequests, status_of
from ..engine.completion import Deliver
from ..engine.engine import Engine
from ..engine.event import Event
from ..engine.stream import StreamAnswer
from ..graph.flow import FlowStep
from ..graph.router import RouterStep
from .front import HEALTH, error_response, health, to_response, unsendable
from .http_answer import Answer, Heads, json_answer, to_answer
from .http_request import RequestEvent

METADATA_PATHS = ("/", "/v2", "/v2/", "/v2/health", "/v2/health/")
EXTENSIONS = ["binary_tensor_data", "classification"]
MOST_LOGGED = 100
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
access_logger = logging.getLogger("millrace.access")


class Door:
    """One engine's way in over HTTP, shared by all connections.

    :param version: of Millrace, for the metadata
    :ivar access_log: log a line for every answer
    :ivar asked: how many events came in
    """

    def __init__(self, engine: Engine, *, version: str, request_timeout_seconds: float = 60) -> None:
        self.engine = engine
        self.heads = Heads()
        self._logged: set[Any] = set()
        self.request_timeout_seconds = request_timeout_seconds
        self.access_log = False
        self.asked = 0
        self._metadata = {"name": engine.context.name, "version": version, "extensions": EXTENSIONS}
        self._tells_metadata = not has_router(engine.context.root)

    def told(self, event: RequestEvent) -> Answer | None:
        """The answer to what the door itself is asked: health, metadata without a router, OPTIONS; else ``None``."""
        path, method = event.path, event.method
        if path.startswith(HEALTH):
            found = health(self.engine, path)
            if found is not None:
                return json_answer(*found)
        if method == "GET":
            if self._tells_metadata and path in METADATA_PATHS and not event.query_string:
                return json_answer(200, self._metadata)
        elif method == "OPTIONS":
            return Answer(204, None, {"Allow": METHODS}, b"")
        elif method in ("TRACE", "CONNECT"):
            raise MethodNotAllowed(f"{method} is not served; these are: {METHODS}", allowed=METHODS.split(", "))
        return None

    def begin(self, event: Event, deliver: Deliver) -> None:
        """Run an event; `deliver` is called once with its answer or error, at once or later on this loop."""
        engine = self.engine
        self.asked += 1
        if engine.draining:
            deliver(None, engine.refusal())
        elif not engine.inline:
            if engine.gate.try_enter():
                engine.submit(event, deliver)
            else:
                deliver(None, self._full())
        else:
            try:
                answer = engine.run(event)
            except (Exception, SystemExit) as error:
                deliver(None, error)
                return
            deliver(answer, None)

    async def run(self, event: Event) -> Any:
        """Run an event and wait for its answer, no longer than the time limit; what works on it is stopped then."""
        if self.engine.inline and not self.engine.draining:
            self.asked += 1
            return self.engine.run(event)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def deliver(body: Any, error: BaseException | None) -> None:
            if answer.done():
                drop(body)
            elif error is not None:
                answer.set_exception(self.stopped(error))
            else:
                answer.set_result(body)

        self.begin(event, deliver)
        try:
            async with asyncio.timeout(self.request_timeout_seconds):
                return await answer
        except TimeoutError:
            self.engine.abandon(event)
            raise self.late() from None

    def _full(self) -> TooManyRequests:
        limit = self.engine.gate.limit
        return TooManyRequests(f"{limit} events are being served, as many as there may be at a time; try again")

    def late(self) -> StepTimeout:
        """The error of an event that takes too long."""
        return StepTimeout(
            f"no answer after {self.request_timeout_seconds:g} s (--request-timeout-seconds); "
            "timeout_seconds= of a step ends it earlier"
        )

    def stopped(self, error: BaseException) -> BaseException:
        """The error for the client: that of an event which was cancelled is that the server stops."""
        return self.engine.refusal() if isinstance(error, asyncio.CancelledError) else error

    def answer(self, answer: Any) -> Answer:
        """A graph's answer (not a stream) as what goes out; errors of 500 where it can not go out."""
        if isinstance(answer, Answer):
            return answer
        try:
            return to_answer(to_response(self.engine, answer))
        except TypeError as error:
            return self._refused(unsendable(answer, error))
        except ValueError as error:
            return self._refused(f"the graph's answer can not be sent: {error}")

    def _refused(self, text: str) -> Answer:
        self.engine.context.logger.error("%s", text)
        return json_answer(500, {"error": self.engine.context.secrets.mask(text)})

    def failure(self, error: BaseException) -> Answer:
        """An error as what goes out; one that is no fault of the client is logged."""
        if isinstance(error, SystemExit):
            error = StepError(f"a step called sys.exit({error.code!r})", step="")
        if status_of(error) == 500:
            self._log(error)
        return to_answer(error_response(self.engine, error))

    def _log(self, error: BaseException) -> None:
        """A line for every error; where it comes from, only the first time, or a broken model fills the disk."""
        context = self.engine.context
        cause = error.__cause__ or error
        kind = (type(cause), *_place(cause.__traceback__))
        if kind in self._logged or len(self._logged) >= MOST_LOGGED:
            context.logger.error("%s", error)
            return
        self._logged.add(kind)
        text = "".join(traceback.format_exception(cause))
        context.logger.error("%s\n%s", error, context.secrets.mask(text))

    def log_access(self, peer: Any, method: str, target: str, status: int, length: int, started: float) -> None:
        """Log one answer.

        :param started: when the request was read, by ``time.perf_counter``
        """
        milliseconds = (time.perf_counter() - started) * 1000
        host = peer[0] if peer else "-"
        access_logger.info('%s "%s %s" %d %d %.1f ms', host, method, target, status, length, milliseconds)


def _place(trace: TracebackType | None) -> tuple[Any, ...]:
    """Where an error was raised."""
    if trace is None:
        return ()
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code, trace.tb_lineno


def has_router(root: Any) -> bool:
    """Whether a graph has a router, which answers for the metadata."""
    return isinstance(root, RouterStep) or (isinstance(root, FlowStep) and bool(root.routers()))


def drop(answer: Any) -> None:
    """Forget an answer that nobody waits for; a stream's generator ends."""
    if isinstance(answer, StreamAnswer):
        answer.close()
