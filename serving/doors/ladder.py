"""The failure ladder: what fails is tried again, then becomes a dead letter, is skipped, or stops its reader."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, Self, get_args

from ...errors import GraphError, MillraceError, near
from ...queues.base import Start
from ...queues.message import Message
from ..engine.clock import Clock, sleep
from .dead_letters import dead_letter

logger = logging.getLogger("millrace.stream")

Ordering = Literal["partition", "key", "none"]
Then = Literal["dead_letter", "skip", "stop"]
LONGEST_BACKOFF_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How a stream is consumed.

    :param ordering: what stays in order: the messages of a ``partition``, of a ``key``, or ``none``
    :param retries: how often a message is tried again; not after an error that is its own fault (4xx)
    :param backoff_seconds: the first pause before a retry; it doubles, with jitter, up to 30 s
    :param on_failure: after the last retry: ``dead_letter``, ``skip``, or ``stop`` and keep
    :param max_in_flight: messages of a partition taken and not committed, above which the partition is paused
    :param commit_seconds: how often the watermark is committed, and sooner when half of `max_in_flight` is done
    :param drain_seconds: how long a rebalance or a stop waits for messages that run
    :param start: where a group begins that has read nothing yet
    :param exactly_once: what a message writes counts together with its commit; for Kafka in, Kafka out

    >>> Policy.of({"retries": 1, "on_failure": "skip"}, where="queue 'q'").on_failure
    'skip'
    """

    ordering: Ordering = "partition"
    retries: int = 3
    backoff_seconds: float = 0.1
    on_failure: Then = "dead_letter"
    max_in_flight: int = 20_000
    commit_seconds: float = 0.1
    drain_seconds: float = 10.0
    start: Start = "earliest"
    exactly_once: bool = False

    @classmethod
    def of(cls, settings: dict[str, Any], *, where: str) -> Self:
        """The policy that settings name.

        :param where: whose they are, for errors
        :raises GraphError: a value is none that the setting takes
        """
        known = {one.name: one for one in fields(cls)}
        for name, value in settings.items():
            if name not in known:
                raise GraphError(f"{where}: a stream has no setting '{name}'{near(name, known)}")
            choices = _CHOICES.get(name)
            if choices is not None and value not in choices:
                listed = ", ".join(choices)
                raise GraphError(f"{where}: {name}={value!r} is none of {listed}{near(str(value), choices)}")
            if name == "exactly_once":
                if not isinstance(value, bool):
                    raise GraphError(f"{where}: exactly_once={value!r} is neither True nor False")
                continue
            if choices is None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0):
                raise GraphError(f"{where}: {name}={value!r} is no number of 0 or more")
        policy = cls(**settings)
        if policy.max_in_flight < 1:
            raise GraphError(f"{where}: max_in_flight must be 1 or more")
        if policy.exactly_once and policy.ordering != "partition":
            raise GraphError(
                f"{where}: exactly_once=True keeps the order of partitions, not ordering={policy.ordering!r}: "
                "leave one of them out"
            )
        return policy


_CHOICES: dict[str, tuple[str, ...]] = {
    "ordering": get_args(Ordering), "on_failure": get_args(Then), "start": ("earliest", "latest"),
}  # fmt: skip


@dataclass(slots=True)
class Counts:
    """What a stream's reader has done, in messages."""

    received: int = 0
    done: int = 0
    retried: int = 0
    dead_lettered: int = 0
    skipped: int = 0


class Undecodable(MillraceError):
    """A message is not what its content type says."""

    status = 400


def undecodable(message: Message, content_type: str | None, error: ValueError) -> Undecodable:
    """The error of a message that can not be decoded.

    :param content_type: of messages that name none
    """
    what = message.headers.get("content-type") or content_type or "JSON"
    return Undecodable(f"the message is no {what}: {error}")


class PartitionLost(Exception):
    """The partition of a message went to another reader, who deals with it."""


Attempt = Callable[[Message], Awaitable[BaseException | None]]
Pause = Callable[[float], Awaitable[None]]


class Letters(Protocol):
    """Where dead letters go, such as a :class:`~...queues.base.Queue`."""

    url: str

    async def append(self, messages: Sequence[Message]) -> object:
        """Return when they are safe."""


class Ladder:
    """What becomes of the messages that fail.

    :param origin: the address of the queue that they come from
    :param dead_letters: gives the queue that gets what fails, open, when it is first needed
    :param on_given_up: called with a message and its error when it has become a dead letter or was skipped
    """

    def __init__(
        self,
        policy: Policy,
        *,
        origin: str,
        clock: Clock,
        dead_letters: Callable[[], Awaitable[Letters]] | None = None,
        on_given_up: Callable[[Message, BaseException], None] = lambda message, error: None,
        counts: Counts | None = None,
    ) -> None:
        self.policy = policy
        self.origin = origin
        self.counts = counts or Counts()
        self._clock = clock
        self._dead_letters = dead_letters
        self._on_given_up = on_given_up

    async def climb(
        self, message: Message, error: BaseException, attempt: Attempt, pause: Pause | None = None
    ) -> BaseException | None:
        """Deal with a message whose first attempt failed.

        :param attempt: runs the message again; gives what failed, or ``None``
        :param pause: waits so many seconds; default: by the clock
        :raises PartitionLost: where `attempt` or `pause` raises it
        :return: ``None`` when the message is done with; the error when it must stay, and its reader stop
        """
        attempts = 1
        while attempts <= self.policy.retries and _is_worth_retrying(error):
            self.counts.retried += 1
            longest = min(self.policy.backoff_seconds * 2 ** (attempts - 1), LONGEST_BACKOFF_SECONDS)
            await (pause or self._pause)(longest * random.uniform(0.5, 1.0))
            again = await attempt(message)
            if again is None:
                return None
            error = again
            attempts += 1
        return await self.give_up(message, error, attempts)

    async def _pause(self, seconds: float) -> None:
        await sleep(self._clock, seconds)

    async def give_up(self, message: Message, error: BaseException, attempts: int) -> BaseException | None:
        """Deal with a message that is not tried again; ``None`` when it is done with."""
        where = f"{self.origin} partition {message.partition} offset {message.offset}"
        tries = f"{attempts} attempt{'s' if attempts > 1 else ''}"
        if self.policy.on_failure == "skip":
            self.counts.skipped += 1
            logger.error("%s is skipped after %s: %s", where, tries, error)
            self._on_given_up(message, error)
            return None
        if self.policy.on_failure == "dead_letter" and self._dead_letters is not None:
            try:
                queue = await self._dead_letters()
                await queue.append([dead_letter(message, error, origin=self.origin, attempts=attempts)])
            except PartitionLost:
                raise
            except Exception as unwritten:
                error.add_note(f"and its dead letter could not be written: {unwritten}")
            else:
                self.counts.dead_lettered += 1
                logger.error("%s is a dead letter in %s after %s: %s", where, queue.url, tries, error)
                self._on_given_up(message, error)
                return None
        error.add_note(f"{where} stays uncommitted: reading begins there when it is started again")
        logger.critical("reading stops at %s after %s: %s; %s", where, tries, error, "; ".join(error.__notes__))
        return error


def _is_worth_retrying(error: BaseException) -> bool:
    """Whether another try may help: not after an error that is the message's own fault."""
    return not isinstance(error, MillraceError) or error.status >= 500 or error.status == 429
