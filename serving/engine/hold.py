"""The unit around a step that keeps events: a batch or a join."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...steps.base import Held, HoldingStep, Release
from .clock import Timer
from .completion import Completion, JointCompletion
from .event import Event
from .unit import TAKEN, StepInfo, Unit, failed

if TYPE_CHECKING:
    from .engine import Engine


class HoldUnit(Unit):
    """Keeps events in a :class:`HoldingStep` and sends on what the step lets go."""

    __slots__ = ("engine", "held", "step", "timer")

    def __init__(self, step: HoldingStep, info: StepInfo) -> None:
        super().__init__(info)
        self.step = step
        self.is_async = True
        self.timer: Timer | None = None
        self.engine: Engine | None = None
        self.held: dict[int, list[Held]] = {}

    async def take(self, engine: Engine, event: Event, body: Any, inlet: str) -> Any:
        """An event comes in from the step named `inlet`."""
        completion = event._completion
        assert completion is not None  # noqa: S101 - every event that walks has one
        self.engine = engine
        event.body = body
        item = Held(body, event, inlet, completion)
        try:
            released = self.step.add(item, engine.clock.now())
        except Exception as error:
            failed(event, body, self.info, error)
        if self.step.joins:
            if not any(item in release.items for release in released):
                self._wait_for_others(completion, item)
        self._let_go(released)
        self._set_timer()
        if self.step.joins and completion.pending == completion.joining:
            self.orphaned(completion)
        return TAKEN

    def _wait_for_others(self, completion: Completion, item: Held) -> None:
        self.held.setdefault(id(completion), []).append(item)
        completion.joining += 1

    def orphaned(self, completion: Completion) -> None:
        """No other branch of the event is alive: its join can not be completed."""
        for item in self.held.get(id(completion), [])[:1]:
            self._let_go(self.step.orphaned(item))

    def flush(self) -> None:
        """Let everything go."""
        self._let_go(self.step.flush())
        self._set_timer()

    def _expire(self) -> None:
        assert self.engine is not None  # noqa: S101 - set before the timer
        self.timer = None
        self._let_go(self.step.expire(self.engine.clock.now()))
        self._set_timer()

    def _set_timer(self) -> None:
        deadline = self.step.next_deadline()
        if deadline is None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None
        elif self.timer is None and self.engine is not None:
            self.timer = self.engine.clock.call_later(deadline - self.engine.clock.now(), self._expire)

    def _let_go(self, released: list[Release]) -> None:
        for release in released:
            completions = [self._taken_out(item) for item in release.items]
            if release.error is not None:
                self._fail(release, completions)
            else:
                self._send_on(release, completions)

    def _taken_out(self, item: Held) -> Completion:
        completion: Completion = item.token
        waiting = self.held.get(id(completion), [])
        if item in waiting:
            waiting.remove(item)
            completion.joining -= 1
            if not waiting:
                del self.held[id(completion)]
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
            event._completion = JointCompletion(completions)
            event.key = release.key if release.key is not None else event.key
            event._id = None
        self.engine.go_on(self, event, release.body)

    def _fail(self, release: Release, completions: list[Completion]) -> None:
        assert self.engine is not None and release.error is not None  # noqa: S101 - checked by the caller
        done: set[int] = set()
        for item, completion in zip(release.items, completions, strict=True):
            if id(completion) not in done and not completion.failed:
                event = item.event
                event._failed = self.info
                catcher = self.engine.caught(event, release.error)
                if catcher is not None:
                    completion.hold()
                    self.engine.spawn(catcher, event, item.body)
            done.add(id(completion))
            completion.release()


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
