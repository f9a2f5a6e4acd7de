"""The Nuclio door: an engine behind a handler that Nuclio's Python wrapper calls.

A worker is one process with one loop, which the wrapper runs; the engine runs on it too. The wrapper calls the handler
for one event after the other, or, in asynchronous mode, for many at a time. Events from HTTP and clocks get the answers
that they get over HTTP, byte for byte; those of streams are taken by :class:`NuclioReader`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from ..engine.engine import Engine
from ..engine.messages import JSON, dumps
from ..engine.stream import StreamAnswer
from .front import error_answer
from .http_deadlines import Deadlines
from .http_door import Door
from .http_request import RequestEvent
from .nuclio_ack import Acks
from .nuclio_answer import collected, to_nuclio
from .nuclio_event import REQUEST_KINDS, request_event, text
from .nuclio_exchange import Exchange
from .nuclio_reader import NuclioReader
from .nuclio_streams import NuclioStreams

logger = logging.getLogger("millrace.nuclio")

ACK_SECONDS = 0.1
DRAIN_SECONDS = 8.0
"""Unless it is told otherwise, Nuclio kills a worker that takes 10 s to end (``workerTerminationTimeout``)."""
SHORTEST_SECONDS = 0.5
"""For the rest of the events, where messages took all the time."""
NOTHING = object()
"""Stands for an answer that is ``None``."""
# Where answers acknowledge offsets, this prevents it. The SDK writes the first, Nuclio reads the second.
NO_ACK = {"x-nuclio-stream-no-ack": True, "X-Nuclio-Stream-No-Ack": True}


class NuclioDoor:
    """One engine's way in from Nuclio.

    :param platform: of the wrapper's context: it takes acknowledgements, and calls when the worker drains or ends
    :param make_response: the class ``nuclio_sdk.Response``
    :param version: of Millrace, for the metadata
    :param on_fault: called with the error of a message that must stay; nothing is read after it
    :param request_timeout_seconds: for the answer to a request (504)
    :param drain_seconds: for what runs when partitions move to another worker, or the worker ends
    """

    def __init__(
        self,
        engine: Engine,
        streams: NuclioStreams,
        *,
        platform: Any,
        make_response: Callable[..., Any],
        version: str,
        on_fault: Callable[[BaseException], None] = lambda error: None,
        request_timeout_seconds: float = 60.0,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self.engine = engine
        self.acks = Acks(platform, clock=engine.clock, seconds=ACK_SECONDS)
        self.reader = NuclioReader(engine, streams, self.acks, on_fault=on_fault)
        self._door = Door(engine, version=version, request_timeout_seconds=request_timeout_seconds)
        self._drain_seconds = drain_seconds
        self._streams = streams
        self._make = make_response
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadlines: Deadlines
        self._starting: asyncio.Task[None] | None = None
        self._inside = 0
        engine.backlog = lambda: streams.backlog + self.reader.in_flight
        platform.set_drain_callback(self.drain)
        platform.set_termination_callback(self.terminate)

    # -- events --------------------------------------------------------------------------------------------------

    async def __call__(self, event: Any) -> Any:
        """Answer an event of Nuclio's, or a list of them where its trigger brings batches.

        :return: a ``nuclio_sdk.Response``; a list only for a list
        """
        if event.__class__ is list:
            return await asyncio.gather(*(self._of_batch(one) for one in event))
        self._inside += 1
        try:
            if asyncio.get_running_loop() is not self._loop:
                await self.start()
            if event.trigger.kind not in REQUEST_KINDS and text(event.trigger.kind) not in REQUEST_KINDS:
                left = self.reader.begin(event)
                if left is not None:
                    await left
                return self._make(dict(NO_ACK), "", "text/plain", 200)
            made = request_event(event)
            answer = self._at_once(made)
            if answer is None:
                answer = await Exchange(self._door, made).answered(self._deadlines)
            if answer.__class__ is dict and self.engine.plan.answers and (body := _json(answer)) is not None:
                return self._make(None, body, JSON, 200)
            return await self._response(made, answer)
        except (Exception, SystemExit) as error:
            return self._failed(event, error)
        finally:
            self._inside -= 1

    def _at_once(self, made: RequestEvent) -> Any:
        """The answer to what the door itself is asked, or of a graph that waits for nothing; ``None`` for others."""
        if (made.method != "POST" or made.path[:4] == "/v2/") and (told := self._door.told(made)) is not None:
            return told
        engine = self.engine
        if engine.inline and not engine.draining:
            answer = engine.run(made)
            return NOTHING if answer is None else answer
        return None

    async def _of_batch(self, event: Any) -> Any:
        response = await self(event)
        response.event_id = event.id
        return response

    async def _response(self, made: RequestEvent, answer: Any) -> Any:
        if isinstance(answer, StreamAnswer):
            found = await collected(answer, made.headers.get("Accept", ""), self._explain)
        else:
            found = self._door.answer(None if answer is NOTHING else answer)
        return to_nuclio(found, self._make)

    def _failed(self, event: Any, error: BaseException) -> Any:
        response = to_nuclio(self._door.failure(error), self._make)
        if text(event.trigger.kind) not in REQUEST_KINDS:
            response.headers |= NO_ACK
        return response

    def _explain(self, error: Exception) -> dict[str, Any]:
        return error_answer(self.engine, error, verbose=self.engine.context.verbose)[1]

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Run the engine on this loop and open what it writes to; those who come meanwhile wait.

        :raises Exception: a stream can not be opened; the next one who comes tries again
        """
        loop = asyncio.get_running_loop()
        starting = self._starting
        failed = starting is not None and starting.done() and (starting.cancelled() or starting.exception() is not None)
        if starting is None or failed or starting.get_loop() is not loop:
            starting = self._starting = loop.create_task(self._start(loop))
        await asyncio.shield(starting)

    async def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        await self.engine.start()
        self._deadlines = Deadlines(loop, self._door.request_timeout_seconds)
        if self._loop is None:  # a wrapper that has another loop for each event does not read or write in between
            await self._streams.start(self.engine)
        self._loop = loop

    async def drain(self) -> None:
        """Nuclio's drain callback: partitions move to other workers. Let messages end, and acknowledge them."""
        await self.reader.drain(self._drain_seconds)

    async def terminate(self) -> None:
        """Nuclio's termination callback: take nothing new, let all end, acknowledge, close, and end the process.

        :raises SystemExit: the worker is done; Nuclio need not wait for its time limit
        """
        answers_are_due = self._inside > 0
        self.engine.draining = True
        end = time.monotonic() + self._drain_seconds
        await self.reader.drain(self._drain_seconds)
        await self._streams.end_reading()
        if not await self.engine.drain(max(end - time.monotonic(), SHORTEST_SECONDS)):
            logger.warning("events were not done after %g s of draining", self._drain_seconds)
        if self._loop is not None:
            self._deadlines.close()
        await self._streams.close()
        await self.engine.close_steps()
        self.engine.close()
        if not answers_are_due:  # else the wrapper has to send them, and Nuclio's time limit ends the process
            raise SystemExit(0)


def _json(answer: dict[str, Any]) -> str | None:
    """The answer as JSON; ``None`` where it is none, which is told elsewhere."""
    try:
        return dumps(answer).decode()
    except TypeError:
        return None

