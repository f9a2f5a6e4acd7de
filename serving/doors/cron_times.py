"""When a cron trigger is due: every so many seconds, or at the times of a cron expression, in UTC."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from ...errors import GraphError, MissingDependency
from ..engine.clock import Clock

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
ALIASES = {"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
           "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *"}  # fmt: skip
EVERY = "@every "
COUNTED_MISSED = 1_000  # counting further would only take time

Now = Callable[[], datetime]


class Times(Protocol):
    """The moments at which something is due, one after the other."""

    def left(self) -> float:
        """Seconds until the next one; 0 or less when it has come."""

    def go_on(self) -> int:
        """Go on to the next moment that has not passed, and say how many were passed over."""


def seconds_of(text: str) -> float:
    """The seconds of an interval as Go and Nuclio write it.

    :raises ValueError: it is none, or not over 0

    >>> seconds_of("1h30m"), seconds_of("250ms")
    (5400.0, 0.25)
    """
    parts = PART.findall(text)
    total = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or total <= 0:
        raise ValueError(f"'{text}' is no interval such as '10s', '5m' or '1h30m'")
    return total


class Every:
    """An interval, from when it is made; by the engine's clock, which no change of the wall clock moves."""

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._due = clock.now() + seconds

    def left(self) -> float:
        """Seconds until the next moment."""
        return self._due - self._clock.now()

    def go_on(self) -> int:
        """The next moment after now; those in between are passed over."""
        missed = max(0, int((self._clock.now() - self._due) // self._seconds))
        self._due += (missed + 1) * self._seconds
        return missed


class Schedule:
    """The times of a cron expression, in UTC: minute, hour, day, month, weekday; with six fields, seconds first.

    :param now: the time of day
    :raises GraphError: it is no such expression
    :raises MissingDependency: there is no cronsim
    """

    def __init__(self, expression: str, now: Now | None = None) -> None:
        self._expression = ALIASES.get(expression.strip().lower(), expression.strip())
        self._now = now or _utc_now
        self._due = self._after(self._now())

    def left(self) -> float:
        """Seconds until the next moment."""
        return (self._due - self._now()).total_seconds()

    def go_on(self) -> int:
        """The next moment after now; those in between are passed over."""
        missed, now = 0, self._now()
        self._due = self._after(self._due)
        while self._due <= now:
            missed += 1
            self._due = self._after(self._due if missed < COUNTED_MISSED else now)
        return missed

    def _after(self, moment: datetime) -> datetime:
        try:
            from cronsim import CronSim, CronSimError  # noqa: PLC0415 - only where there is such a trigger
        except ModuleNotFoundError as error:
            raise MissingDependency("cronsim", extra="cron", purpose="a cron trigger with schedule=") from error
        try:
            found: datetime = next(CronSim(self._expression, moment))
        except (CronSimError, StopIteration) as error:
            why = str(error) or "it never comes"
            raise GraphError(f"'{self._expression}' is no cron expression such as '*/5 * * * *': {why}") from error
        return found


def _utc_now() -> datetime:
    return datetime.now(UTC)
