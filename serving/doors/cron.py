"""The cron door: the graph gets an event whenever one is due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import Draining, GraphError
from ..engine.clock import Clock, sleep
from ..engine.engine import Engine
from ..engine.event import Event, MockTrigger
from ..engine.intake import Intake
from ..engine.unit import Unit
from .cron_times import EVERY, Every, Now, Schedule, Times, seconds_of
from .front import parse_body

logger = logging.getLogger("millrace.cron")

LONGEST_SLEEP_SECONDS = 60.0  # a wall clock that was set, or a machine that slept, is noticed after this


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A cron trigger.

    :param interval: such as ``10s`` or ``1h30m``; or else
    :param schedule: a cron expression in UTC
    :param body: of its events; text is parsed as JSON where it is some, unless the headers name another content type
    """

    name: str
    interval: str | None = None
    schedule: str | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = "/"
    method: str = "POST"

    def times(self, clock: Clock, now: Now | None = None) -> Times:
        """When it is due, from now on.

        :raises GraphError: neither or both are given, or it is none
        """
        where = f"trigger '{self.name}'"
        if (self.interval is None) == (self.schedule is None):
            raise GraphError(f"{where}: give either interval='10s' or schedule='*/5 * * * *'")
        interval = self.interval
        if self.schedule is not None and str(self.schedule).startswith(EVERY):
            interval = str(self.schedule).removeprefix(EVERY).strip()
        try:
            return Schedule(str(self.schedule), now) if interval is None else Every(seconds_of(str(interval)), clock)
        except (GraphError, ValueError) as error:
            raise GraphError(f"{where}: {error}") from error

    def event(self) -> Event:
        """A new event of this trigger."""
        content_type = next((value for name, value in self.headers.items() if name.lower() == "content-type"), None)
        return Event(
            parse_body(self.body, content_type), content_type, dict(self.headers), self.method, self.path,
            trigger=MockTrigger("cron", self.name),
        )  # fmt: skip


class CronDoor:
    """Sends a cron trigger's events through the graph, one at a time. On the engine's loop.

    What becomes due while an event runs is passed over, so that a slow graph gets no pile of late events.

    :param unit: where the events come in; default: where all events do
    :param now: the time of day, for schedules; default: the machine's, in UTC
    :ivar sent: how many events there were
    :ivar missed: how many were passed over
    """

    def __init__(self, engine: Engine, cron: Cron, *, unit: Unit | None = None, now: Now | None = None) -> None:
        self.engine = engine
        self.unit = unit or engine.plan.root
        self.cron = cron
        self.sent = 0
        self.missed = 0
        self._times = cron.times(engine.clock, now)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Send events until :meth:`stop`; one that runs then is left to the engine to end."""
        while True:
            while (left := self._times.left()) > 0:
                await self._unless_stopped(sleep(self.engine.clock, min(left, LONGEST_SLEEP_SECONDS)))
                if self._stopping.is_set():
                    return
            await self._unless_stopped(self._send())
            if self._stopping.is_set():
                return
            missed = self._times.go_on()
            if missed:
                self.missed += missed
                logger.warning("trigger '%s': %d times passed while an event ran", self.cron.name, missed)

    def stop(self) -> None:
        """Send no more."""
        self._stopping.set()

    async def _unless_stopped(self, waiting: Any) -> None:
        task, stopped = asyncio.ensure_future(waiting), asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            stopped.cancel()
            task.cancel()

    async def _send(self) -> None:
        engine = self.engine
        if not engine.gate.try_enter():
            try:
                await engine.gate.enter_async()
            except Draining:
                return
        done: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        event = self.cron.event()
        self.sent += 1

        def ended(error: BaseException | None) -> None:
            if isinstance(error, Exception):
                logger.error("an event of trigger '%s' failed: %s", self.cron.name, error)
                engine.reports.keep(event, error)
            if not done.done():
                done.set_result(error)

        engine.feed(event, self.unit, Intake(ended))
        await done
