"""The engine: runs events through a plan, in the caller's thread where that can serve, else on a loop."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from ...deferred import asyncio
from ...errors import Draining, Unavailable
from .closing import close_all, let_go_of
from .completion import Completion, Deliver
from .context import GraphContext
from .delivery import hand_over, settler
from .event import Event, new_id
from .flushing import flush, holds_in_order, relieve
from .gate import Gate
from .intake import Acceptance, Intake
from .lean import Scratch, only_bodies
from .loop import LoopThread, Slot
from .plan import Plan
from .reports import Reports
from .stream import StreamAnswer
from .unit import StepInfo, Unit
from .walk import drive, walk
from .walks import Walks

DEFAULT_MAX_IN_FLIGHT = 1_000


class Engine:
    """Runs one compiled graph.

    :param plan: the compiled graph
    :param context: the context that its steps share
    :ivar gate: bounds and counts the events inside
    :ivar holds: the batches and joins, each before those that it leads to
    :ivar faults: what keeps it from serving, such as a stream that is not read any more
    """

    def __init__(self, plan: Plan, context: GraphContext, *, max_in_flight: int | None = None) -> None:
        self.plan = plan
        self.context = context
        self.clock = context.clock
        self.logger = logging.getLogger("millrace.engine")
        limit = max_in_flight or plan.max_in_flight
        self.gate = Gate(limit or DEFAULT_MAX_IN_FLIGHT)
        self.reports = Reports(context)
        self.holds = holds_in_order(plan)
        self.draining = False
        self.closed = False
        self._steps_closed = False
        self.inline = plan.inline and limit is None
        self.chain = plan.chain if self.inline else None
        self.lean = only_bodies(self.chain)
        self.forgets = plan.forgets
        self.backlog: Callable[[], int] = lambda: 0
        self.faults: list[str] = []
        self._thread = LoopThread(f"millrace-{context.name}")
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread_id: int | None = None
        self._alive: set[Completion] = set()
        self.walks = Walks(self._walked)
        self._streams: weakref.WeakSet[StreamAnswer] = weakref.WeakSet()
        resources = plan.resources
        weakref.finalize(self, let_go_of, self._thread, resources.threads, resources.workers).atexit = False

    # -- ways in -------------------------------------------------------------------------------------------------

    def run(self, event: Event) -> Any:
        """Run an event and block for its answer: a body, ``DROPPED``, or a stream. Not for the engine's own loop.

        Without a responder the answer is the event's id. It is waited for only where the graph writes to a stream.
        """
        if self.chain is not None:
            try:
                answer = self.chain.run(self, event, event.body)
            except Exception as error:
                return self._recovered(event, error)
            return {"id": event.id} if self.forgets else answer
        self._check_open()
        if self.inline:
            return self.run_inline(event, self.plan.root, event.body)
        if threading.get_ident() == self._loop_thread_id:
            raise RuntimeError("a step can not block for its own server; await atest(), or use execution='thread'")
        self.gate.enter()
        self._check_open(entered=True)
        if self.forgets:
            accepted = {"id": event.id}
            self._post(lambda: self._admitted(event, _nobody))
            return accepted
        slot = Slot()
        self._post(lambda: self._admitted(event, slot.put))
        return slot.wait()

    def run_body(self, body: Any) -> Any:
        """The same as :meth:`run` for a body without anything around it."""
        lean = self.lean
        if lean is None:
            return self.run(Event(body))
        scratch: Any = Scratch()
        try:
            answer = lean.run(self, scratch, body)
        except Exception as error:
            return self._recovered(scratch.failed_in(Event()), error)
        return {"id": new_id()} if self.forgets else answer

    async def run_async(self, event: Event) -> Any:
        """The same for coroutines, on whichever loop."""
        if self.inline:
            return self.run(event)
        self._check_open()
        if not self.gate.try_enter():
            await self.gate.enter_async()
        self._check_open(entered=True)
        loop = asyncio.get_running_loop()
        if self.forgets:
            accepted = {"id": event.id}
            if loop is self._own_loop:
                self._admitted(event, _nobody)
            else:
                self._post(lambda: self._admitted(event, _nobody))
            return accepted
        answer: asyncio.Future[Any] = loop.create_future()
        settle = settler(answer)
        if loop is self._own_loop:
            self._admitted(event, settle)
        else:
            self._post(lambda: self._admitted(event, lambda body, error: hand_over(loop, settle, body, error)))
        return await answer

    def submit(self, event: Event, deliver: Deliver) -> None:
        """Run an event on this loop, and hand its answer to a function. The caller has entered the gate."""
        if not self.inline:
            self._admitted(event, deliver)
            return
        answer, error = None, None
        try:
            answer = self.run(event)
        except Exception as raised:
            error = raised
        finally:
            self.gate.leave()
        deliver(answer, error)

    def feed(self, event: Event, unit: Unit, intake: Intake | None = None) -> None:
        """Start an event at an entry of the graph: it came from a queue, and nobody waits for an answer.

        The caller has entered the gate. What runs no async step has ended, or is held, when this returns.

        :param intake: is told how the event ends; without it, errors are reported
        """
        if intake is None:
            completion = self._entered(event, _nobody)
            completion.answered = True
        else:
            completion = event._completion = intake
            intake.connect(self._left, self.orphaned)
            self._alive.add(intake)
        self._go(unit, event)

    def feed_failed(self, event: Event, error: Exception, intake: Intake) -> None:
        """The same for an event that its door ran through a segment by itself, where it failed: to its catcher."""
        self.gate.force()
        event._completion = intake
        intake.connect(self._left, self.orphaned)
        self._alive.add(intake)
        catcher = self.caught(event, error)
        if catcher is None:
            intake.release()
        else:
            self._go(catcher, event)

    def _go(self, unit: Unit, event: Event) -> None:
        """Let an event walk whose answer nobody waits for."""
        if unit.reaches_async:
            self.spawn(unit, event, event.body)
        else:
            drive(walk(self, unit, event, event.body))

    def run_inline(self, event: Event, unit: Unit, body: Any, *, part: bool = False) -> Any:
        """Let an event walk through a plan that is inline, here and now.

        :param part: it is a part of the graph; what fails in it goes to the event's own completion too
        """
        answers: list[tuple[Any, BaseException | None]] = []
        completion = event._completion = Completion(lambda *answer: answers.append(answer), _no_more, part=part)
        if not self.plan.answers and not part:
            completion.answer({"id": event.id})
        drive(walk(self, unit, event, body))
        answer, error = answers[0]
        if error is not None:
            raise error
        return answer

    def abandon(self, event: Event) -> None:
        """Nobody waits for an event any more: stop what works on it. What is in a batch or a thread ends by itself."""
        if event._completion is not None:
            self.walks.cancel(event._completion)

    # -- inside --------------------------------------------------------------------------------------------------

    def _check_open(self, *, entered: bool = False) -> None:
        if self.draining:
            if entered:
                self.gate.leave()
            raise self.refusal()

    def refusal(self) -> Unavailable:
        """The error of an event that comes too late."""
        if self._thread.is_lost:
            return Unavailable("the server was made before this process was forked; make another one in this process")
        return Unavailable("the server is closed; make another one") if self.closed else Draining()

    def _post(self, job: Callable[[], None]) -> None:
        if not self._thread.post(job):
            self.gate.leave()
            raise self.refusal()

    def _recovered(self, event: Event, error: Exception) -> Any:
        catcher = event._failed.catcher if event._failed is not None else None
        if catcher is None and self.forgets:
            self.reports.report(event, error, event._failed)
            return {"id": event.id}
        if catcher is None:
            described = self.reports.described(event, error)
            self.reports.push(event, described)
            raise described
        _note(event, error)
        return self.run_inline(event, catcher, event.body)

    def _entered(self, event: Event, deliver: Deliver) -> Completion:
        completion = event._completion = Completion(deliver, self._left, self.orphaned)
        self._alive.add(completion)
        return completion

    def _left(self, completion: Completion) -> None:
        self._alive.discard(completion)
        self.gate.leave()

    def _admitted(self, event: Event, deliver: Deliver) -> None:
        if not self.plan.answers and not self.plan.forgets:
            self._alive.add(accepted := Acceptance(event.id, deliver, self._left, self.orphaned))
            event._completion = accepted
            self.spawn(self.plan.root, event, event.body)
            return
        completion = self._entered(event, deliver)
        if self.plan.answers:
            self.spawn(self.plan.root, event, event.body)
        else:
            completion.answer({"id": event.id})
            self._go(self.plan.root, event)

    def spawn(self, unit: Unit, event: Event, body: Any) -> None:
        """Let an event walk in a task of its own."""
        assert event._completion is not None  # noqa: S101 - every event that walks has one
        self.walks.start(walk(self, unit, event, body), event._completion)

    def _walked(self) -> None:
        if len(self._alive) >= self.gate.limit and self.walks.is_quiet(wait_for_readers=False):
            relieve(self)

    def caught(self, event: Event, error: Exception) -> Unit | None:
        """Who catches a failed event; where nobody does, the error goes to the caller or the error stream."""
        info = event._failed
        completion = event._completion
        if info is not None and info.catcher is not None:
            _note(event, error)
            if completion is not None:
                completion.caught = True
            return info.catcher
        if completion is None or not completion.awaited:
            described = self.reports.report(event, error, info)
        else:
            described = self.reports.described(event, error)
            if not completion.part:
                self.reports.push(event, described)
        if completion is not None:
            completion.fail(described)
        return None

    def report(self, event: Event, error: Exception, info: StepInfo | None) -> None:
        """Tell of an error that no caller gets: the log, the error stream and :attr:`errors`."""
        self.reports.report(event, error, info)

    @property
    def errors(self) -> deque[Exception]:
        """What failed after its answer was given, newest last."""
        return self.reports.errors

    def orphaned(self, completion: Completion) -> None:
        """All that is alive of an event waits in joins for what will not come: the first of them lets it go."""
        for hold in self.holds:
            if completion.pending != completion.joining:
                return
            hold.orphaned(completion)

    # -- life ----------------------------------------------------------------------------------------------------

    @property
    def thread(self) -> LoopThread:
        """The thread of the engine's loop."""
        return self._thread

    @property
    def alive(self) -> int:
        """How many events are on the loop and not done."""
        return len(self._alive)

    @property
    def accepted(self) -> int:
        """How many events have given their answers and are not done."""
        return sum(not completion.awaited for completion in list(self._alive))

    @property
    def has_open_streams(self) -> bool:
        """Whether the end of a stream has not been sent."""
        return any(not stream.is_over for stream in list(self._streams))

    @property
    def is_idle(self) -> bool:
        """Whether all that is left waits for the readers of streams."""
        if self.walks.has_stalls and self.gate.inside >= self.gate.limit:
            return True
        return (not self._alive or self.walks.has_stalls) and not self.backlog() and self.gate.inside <= self.alive

    async def start(self) -> None:
        """Take the running loop as the engine's own and start what steps want to do there."""
        self._own_loop = asyncio.get_running_loop()
        self._loop_thread_id = threading.get_ident()
        self._thread.adopt(self._own_loop)

    def not_ready(self) -> list[str]:
        """The paths of the models that can not serve yet, and what else keeps the engine from serving."""
        return self.faults + [path for path, one in self.plan.objects.items() if getattr(one, "ready", True) is False]

    async def flush(self) -> None:
        """Let go all that batches and joins hold, and wait until every event is done. On the engine's loop.

        A stream that nobody reads at the moment is its reader's affair, and not waited for.
        """
        await flush(self, wait_for_readers=False)

    async def drain(self, seconds: float) -> bool:
        """Take no new events and wait for those inside; whether all were done in time. On the engine's loop."""
        self.draining, self.chain, self.lean = True, None, None
        try:
            async with asyncio.timeout(seconds):
                await flush(self, wait_for_readers=True)
        except TimeoutError:
            self._abandon()
            return False
        return True

    async def close_steps(self) -> None:
        """Let steps close what they opened on the engine's loop, once: those with a method ``aclose()``."""
        if self._steps_closed:
            return
        self._steps_closed = True
        await close_all(self.plan.objects)

    def close(self) -> None:
        """End threads, processes and the engine's own loop; whoever still waits gets an error.

        Steps with an ``aclose()`` are closed on that loop first. Who runs the engine on another loop calls
        :meth:`close_steps` there.
        """
        self.draining, self.closed, self.chain, self.lean = True, True, None, None
        self.gate.close()
        self._thread.stop(self._abandon, self.close_steps)
        self.plan.resources.close()

    def open_stream(self) -> StreamAnswer:
        """A stream of this engine, which ends with it."""
        stream = StreamAnswer(self.walks.stalled)
        self._streams.add(stream)
        return stream

    def _abandon(self) -> None:
        for stream in list(self._streams):
            stream.end(self.refusal())
        for completion in list(self._alive):
            completion.fail(self.refusal())
        self.walks.cancel()


def _note(event: Event, error: Exception) -> None:
    event.error = error
    event.origin_state = event._failed.name if event._failed is not None else None


def _nobody(body: Any, error: BaseException | None) -> None:
    """Nobody waits for the answer."""


def _no_more(completion: Completion) -> None:
    """Nothing is to be done when an inline event is done: its caller knows."""
