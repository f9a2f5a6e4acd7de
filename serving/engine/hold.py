"""The unit around a step that keeps events: a batch or a join."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...steps.base import Held, HoldingStep, Release
from .clock import Timer
from .completion import Completion, JointCompletion
from .event import Event
from .unit import TAKEN, StepInfo, Unit, failed, faults

if TYPE_CHECKING:
    from .engine import Engine


class HoldUnit(Unit):
    """Keeps events in a :class:`HoldingStep` and sends on what the step lets go.

    :ivar count: how many events are held
    :ivar joining: of a join: the held parts by the completion of their event
    """

    __slots__ = ("count", "due", "engine", "joining", "step", "timer")

    def __init__(self, step: HoldingStep, info: StepInfo) -> None:
        super().__init__(info)
        self.step = step
        self.is_async = True
        self.timer: Timer | None = None
        self.due = 0.0
        self.engine: Engine | None = None
        self.count = 0
        self.joining: dict[Completion, list[Held]] = {}

    async def take(self, engine: Engine, event: Event, body: Any, inlet: str) -> Any:
        """An event comes in from the step named `inlet`."""
        completion = event._completion
        assert completion is not None  # noqa: S101 - every event that walks has one
        self.engine = engine
        event.body = body
        item = Held(body, event, inlet, completion)
        try:
            released = self.step.add(item, engine.clock.now())
        except faults() as error:
            failed(event, body, self.info, error)
        self.count += 1
        completion.held += 1
        if self.step.joins and not any(item in release.items for release in released):
            self.joining.setdefault(completion, []).append(item)
            completion.joining += 1
        self._let_go(released)
        self._set_timer()
        if completion.is_parked:
            completion.parked()
        return TAKEN

    def orphaned(self, completion: Completion) -> None:
        """No other branch of the event is alive: its join can not be completed."""
        for item in self.joining.get(completion, [])[:1]:
            self._let_go(self.step.orphaned(item))
            self._set_timer()

    def flush(self) -> bool:
        """Let everything go; whether that was anything."""
        before = self.count
        self._try(self.step.flush)
        return self.count < before

    def _expire(self) -> None:
        self.timer = None
        self._try(self._expired)

    def _expired(self) -> list[Release]:
        assert self.engine is not None  # noqa: S101 - set before the timer
        return self.step.expire(self.engine.clock.now())

    def _try(self, leave: Callable[[], list[Release]]) -> None:
        """Let go what a call gives; when the call itself breaks there is no event to blame, so the log gets it."""
        try:
            self._let_go(leave())
        except Exception:
            assert self.engine is not None  # noqa: S101 - set by take
            self.engine.logger.exception("step '%s' could not let its events go", self.info.path)
        self._set_timer()

    def _set_timer(self) -> None:
        """Wake up at the deadline, or before it: a timer that comes too early only sets the next one."""
        deadline = self.step.next_deadline()
        if self.timer is not None and (deadline is None or deadline < self.due):
            self.timer.cancel()
            self.timer = None
        if self.timer is None and deadline is not None and self.engine is not None:
            self.due = deadline
            self.timer = self.engine.clock.call_later(deadline - self.engine.clock.now(), self._expire)

    def _let_go(self, released: list[Release]) -> None:
        for release in released:
            self.count -= len(release.items)
            completions = [self._taken_out(item) for item in release.items]
            if release.error is not None:
                self._fail(release, completions)
            else:
                self._send_on(release, completions)

    def _taken_out(self, item: Held) -> Completion:
        completion: Completion = item.token
        completion.held -= 1
        waiting = self.joining.get(completion, [])
        if item in waiting:
            waiting.remove(item)
            completion.joining -= 1
            if not waiting:
                del self.joining[completion]
        return completion

    def _send_on(self, release: Release, completions: list[Completion]) -> None:
        assert self.engine is not None  # noqa: S101 - set by take
        first: Event = release.items[0].event
        event = first.fork(release.body)
        if all(one is completions[0] for one in completions):
            event._completion = completions[0]
            for _ in completions[1:]:
                completions[0].release()
        else:
            event._completion = JointCompletion(completions, self.engine.orphaned)
            event.key = release.key if release.key is not None else event.key
            event._id = None
            event._stream = None  # the chunk of one of them would not reach the others
        self.engine.spawn(_Onward(self), event, release.body)

    def _fail(self, release: Release, completions: list[Completion]) -> None:
        assert self.engine is not None and release.error is not None  # noqa: S101 - checked by the caller
        done: set[Completion] = set()
        for item, completion in zip(release.items, completions, strict=True):
            if completion not in done and not _is_settled(completion):
                event = item.event
                event._failed = self.info
                catcher = self.engine.caught(event, release.error)
                if catcher is not None:
                    completion.hold()
                    self.engine.spawn(catcher, event, item.body)
            done.add(completion)
            completion.release()


class _Onward(Unit):
    """Goes on behind a unit that has kept an event."""

    __slots__ = ()

    def __init__(self, unit: Unit) -> None:
        super().__init__(unit.info)
        self.outlets, self.select, self.share, self.responds = unit.outlets, unit.select, unit.share, unit.responds
        self.reaches_async = True  # it is itself behind one

    def run(self, engine: Engine, event: Event, body: Any) -> Any:
        return body


def _is_settled(completion: Completion) -> bool:
    """Whether another branch failed before, and was dealt with: that this one stays alone is only what follows."""
    return completion.failed or (completion.caught and not completion.awaited)


class Inlet(Unit):
    """One edge into a :class:`HoldUnit`, which so knows where an event comes from."""

    __slots__ = ("hold", "source")

    def __init__(self, hold: HoldUnit, source: str) -> None:
        super().__init__(hold.info)
        self.hold = hold
        self.source = source
        self.is_async = True

    def run(self, engine: Engine, event: Event, body: Any) -> Any:
        return self.hold.take(engine, event, body, self.source)
