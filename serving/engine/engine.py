"""The engine: runs events through a plan, in the caller's thread where that can serve, else on a loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from ...errors import Draining, MillraceError, StepError
from ...steps.base import DROPPED
from .completion import Completion, Deliver
from .context import GraphContext
from .event import Event
from .gate import Gate
from .hold import HoldUnit
from .loop import LoopThread, Slot
from .plan import Plan
from .unit import StepInfo, Unit
from .walk import drive, walk

DEFAULT_MAX_IN_FLIGHT = 1_000
KEPT_ERRORS = 1_000
CLOSE_SECONDS = 5.0


class Engine:
    """Runs one compiled graph.

    :param plan: the compiled graph
    :param context: the context that its steps share
    :ivar gate: bounds and counts the events inside
    :ivar errors: what failed after its answer was given, newest last
    """

    def __init__(self, plan: Plan, context: GraphContext, *, max_in_flight: int | None = None) -> None:
        self.plan = plan
        self.context = context
        self.clock = context.clock
        self.logger = logging.getLogger("millrace.engine")
        limit = max_in_flight or plan.max_in_flight
        self.gate = Gate(limit or DEFAULT_MAX_IN_FLIGHT)
        self.errors: deque[Exception] = deque(maxlen=KEPT_ERRORS)
        self.draining = False
        self.inline = plan.inline and limit is None
        self.chain = plan.chain if self.inline else None
        self._thread = LoopThread(f"millrace-{context.name}")
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread_id: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._walking = 0
        self._quiet: asyncio.Event | None = None
        self._idle_waiters: set[asyncio.Future[None]] = set()
        self.backlog: Callable[[], int] = lambda: 0

    # -- ways in -------------------------------------------------------------------------------------------------

    def run(self, event: Event) -> Any:
        """Run an event and block for its answer: a body, ``DROPPED``, or a stream. Not for the engine's own loop."""
        if self.chain is not None:
            try:
                return self.chain.run(self, event, event.body)
            except Exception as error:
                return self._recovered(event, error)
        if self.inline:
            return self._run_inline(event, self.plan.root, event.body)
        if self.draining:
            raise Draining
        if threading.get_ident() == self._loop_thread_id:
            raise RuntimeError("a step called its own server and waits for it on the loop; await run_async() instead")
        slot = Slot()
        self.gate.enter()
        self._thread.post(lambda: self._admitted(event, slot.put))
        return slot.wait()

    async def run_async(self, event: Event) -> Any:
        """The same for coroutines, on whichever loop."""
        if self.chain is not None:
            try:
                return self.chain.run(self, event, event.body)
            except Exception as error:
                return self._recovered(event, error)
        if self.inline:
            return self._run_inline(event, self.plan.root, event.body)
        if self.draining:
            raise Draining
        await self.gate.enter_async()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if loop is self._own_loop:
            self._admitted(event, _settler(answer))
        else:
            settle = _settler(answer)
            self._thread.post(
                lambda: self._admitted(event, lambda body, error: _hand_over(loop, settle, body, error))
            )
        return await answer

    def submit(self, event: Event, deliver: Deliver) -> None:
        """Run an event on this loop, and hand its answer to a function. The caller has entered the gate."""
        if self.inline:
            self._submit_inline(event, deliver)
        else:
            self._admitted(event, deliver)

    def _submit_inline(self, event: Event, deliver: Deliver) -> None:
        try:
            answer = self.run(event)
        except Exception as error:
            self.gate.leave()
            deliver(None, error)
            return
        self.gate.leave()
        deliver(answer, None)

    def feed(self, event: Event, unit: Unit) -> None:
        """Start an event at an entry of the graph: it came from a queue, and nobody waits for an answer.

        The caller has entered the gate.
        """
        completion = Completion(_nobody, self._left, self._orphaned)
        completion.answered = True
        event._completion = completion
        self.spawn(unit, event, event.body)

    def run_part(self, plan: Plan, event: Event) -> Any:
        """Run an event through a part of the graph, such as a route that is a flow; an awaitable unless inline."""
        if plan.inline:
            part = event.fork(event.body)
            return _none_if_dropped(self._run_inline(part, plan.root, part.body))
        return self._run_part(plan, event)

    async def _run_part(self, plan: Plan, event: Event) -> Any:
        outer = event._completion
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        part = event.fork(event.body)
        if outer is not None:
            outer.hold()
        part._completion = Completion(
            _settler(answer), lambda _: outer.release() if outer is not None else None, self._orphaned
        )
        self.spawn(plan.root, part, part.body)
        return _none_if_dropped(await answer)

    # -- inside --------------------------------------------------------------------------------------------------

    def _run_inline(self, event: Event, unit: Unit, body: Any) -> Any:
        answers: list[tuple[Any, BaseException | None]] = []
        event._completion = Completion(lambda *answer: answers.append(answer), _no_more)
        drive(walk(self, unit, event, body))
        answer, error = answers[0]
        if error is not None:
            raise error
        return answer

    def _recovered(self, event: Event, error: Exception) -> Any:
        catcher = event._failed.catcher if event._failed is not None else None
        if catcher is None:
            self._push_error(event, error)
            raise self.described(event, error)
        self._note(event, error)
        return self._run_inline(event, catcher, event.body)

    def _admitted(self, event: Event, deliver: Deliver) -> None:
        completion = Completion(deliver, self._left, self._orphaned)
        event._completion = completion
        if not self.plan.answers:
            completion.answer({"id": event.id})
        self.spawn(self.plan.root, event, event.body)

    def go_on(self, unit: Unit, event: Event, body: Any) -> None:
        """Send on what a holding step let go."""
        completion = event._completion
        assert completion is not None  # noqa: S101 - every event that walks has one
        if unit.responds:
            completion.answer(body)
        if not unit.outlets:
            completion.release()
            return
        after = _Continue(unit)
        self.spawn(after, event, body)

    def walk(self, unit: Unit, event: Event, body: Any) -> Coroutine[Any, Any, None]:
        """The walk of an event from a unit on."""
        return walk(self, unit, event, body)

    def spawn(self, unit: Unit, event: Event, body: Any) -> None:
        """Let an event walk in a task of its own."""
        completion = event._completion
        assert completion is not None  # noqa: S101 - every event that walks has one
        self.start_walk(walk(self, unit, event, body), completion)

    def start_walk(self, coroutine: Coroutine[Any, Any, None], completion: Completion) -> asyncio.Task[None]:
        """Make a walk a task that is counted."""
        self._walking += 1
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._walked)
        return task

    def _walked(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._walking -= 1
        if not task.cancelled() and task.exception() is not None:
            self.logger.error("the engine failed", exc_info=task.exception())
        if self._walking == 0:
            self._wake_idle()

    def caught(self, event: Event, error: Exception) -> Unit | None:
        """Who catches a failed event; where nobody does, the error goes to the caller or the error stream."""
        info = event._failed
        if info is not None and info.catcher is not None:
            self._note(event, error)
            return info.catcher
        completion = event._completion
        described = self.described(event, error)
        if completion is None or not completion.fail(described):
            self.report(event, error, info)
        else:
            self._push_error(event, described)
        return None

    def _note(self, event: Event, error: Exception) -> None:
        event.error = error
        event.origin_state = event._failed.name if event._failed is not None else None

    def described(self, event: Event, error: Exception) -> Exception:
        """The error that a caller gets: one of ours as it is, any other as a StepError that names the step."""
        info = event._failed
        where = f"step '{info.path}' of {info.graph}" if info is not None else "the graph"
        if isinstance(error, MillraceError):
            error.add_note(f"in {where}, event {event.id}")
            return error
        text = self.context.secrets.mask(f"{where} failed: {type(error).__name__}: {error}")
        described = StepError(text, step=info.path if info is not None else "", event_id=event.id)
        described.__cause__ = error
        return described

    def report(self, event: Event, error: Exception, info: StepInfo | None) -> None:
        """An error that no caller gets: to the log, the error stream and :attr:`errors`."""
        described = self.described(event, error)
        self.errors.append(described)
        if self.context.error_sink is None:
            self.logger.error("%s (event %s)", described, event.id, exc_info=error if self.context.verbose else None)
        self._push_error(event, described)

    def _push_error(self, event: Event, error: Exception) -> None:
        if self.context.error_sink is not None:
            source = event._failed.path if event._failed is not None else None
            self.context.push_error(event, str(error), source)

    def _left(self, _: Completion) -> None:
        self.gate.leave()
        if self.gate.inside == 0:
            self._wake_idle()

    def _orphaned(self, completion: Completion) -> None:
        for hold in self.plan.holds:
            hold.orphaned(completion)

    # -- life ----------------------------------------------------------------------------------------------------

    @property
    def thread(self) -> LoopThread:
        """The thread of the engine's loop."""
        return self._thread

    async def start(self) -> None:
        """Take the running loop as the engine's own and start what steps want to do there."""
        self._own_loop = asyncio.get_running_loop()
        self._loop_thread_id = threading.get_ident()

    def not_ready(self) -> list[str]:
        """The paths of the models that can not serve yet."""
        return [path for path, one in self.plan.objects.items() if getattr(one, "ready", True) is False]

    def _wake_idle(self) -> None:
        for waiter in self._idle_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._idle_waiters.clear()

    async def flush(self) -> None:
        """Let go all that batches and joins hold, and wait until every event is done. On the engine's loop."""
        while True:
            await self._until_quiet()
            for hold in self.plan.holds:
                hold.flush()
                await self._until_quiet()
            if self.backlog():
                await asyncio.sleep(0)
            elif self._walking == 0 and not any(_holds(hold) for hold in self.plan.holds):
                return

    async def _until_quiet(self) -> None:
        while self._walking:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle_waiters.add(waiter)
            await waiter

    async def drain(self, seconds: float) -> bool:
        """Take no new events and wait for those inside; whether all were done in time. On the engine's loop."""
        self.draining = True
        try:
            async with asyncio.timeout(seconds):
                await self.flush()
        except TimeoutError:
            for task in list(self._tasks):
                task.cancel()
            return False
        return True

    async def close_steps(self) -> None:
        """Let steps close what they opened on the engine's loop: those with a method ``aclose()``."""
        for path, step in self.plan.objects.items():
            aclose = getattr(step, "aclose", None)
            if aclose is not None:
                try:
                    await aclose()
                except Exception as error:
                    self.logger.warning("step '%s' could not be closed: %s", path, error)

    def close(self) -> None:
        """End threads, processes and the engine's own loop; steps with an ``aclose()`` are closed there first."""
        self.draining = True
        if self._thread.loop is not None:
            try:
                self._thread.call(self.close_steps(), CLOSE_SECONDS)
            except TimeoutError:
                self.logger.warning("a step holds the loop; steps could not be closed in %g s", CLOSE_SECONDS)
        self._thread.stop()
        self.plan.resources.close()


class _Continue(Unit):
    """Goes on behind a unit that has kept an event."""

    __slots__ = ()

    def __init__(self, unit: Unit) -> None:
        super().__init__(unit.info)
        self.outlets, self.select, self.share = unit.outlets, unit.select, unit.share

    def run(self, engine: Engine, event: Event, body: Any) -> Any:
        return body


def _settler(future: asyncio.Future[Any]) -> Deliver:
    def settle(answer: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)

    return settle


def _hand_over(loop: asyncio.AbstractEventLoop, settle: Deliver, body: Any, error: BaseException | None) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(settle, body, error)


def _nobody(body: Any, error: BaseException | None) -> None:
    """Nobody waits for the answer."""


def _no_more(completion: Completion) -> None:
    """Nothing is to be done when an inline event is done: its caller knows."""


def _none_if_dropped(answer: Any) -> Any:
    return None if answer is DROPPED else answer


def _holds(hold: HoldUnit) -> bool:
    return hold.step.next_deadline() is not None or bool(hold.held)
