"""One message through the graph, and up the failure ladder, with what it writes kept in an outbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ...errors import Unavailable
from ...queues.base import Queue
from ...queues.message import Message
from ..engine.clock import sleep
from ..engine.engine import Engine
from ..engine.event import Event
from ..engine.messages import to_event
from ..engine.unit import Unit
from .ladder import Counts, Ladder, PartitionLost, Policy, undecodable
from .outbox import OUTBOX, Letters, Outbox
from .part import Entry, Part
from .share import Run

logger = logging.getLogger("millrace.stream")

AGAIN_SECONDS = 1.0


class Handling:
    """Handles the messages of one queue.

    :param unit: where they come in
    :param origin: the address of the queue
    :param dead_letters: gives the queue for what fails, open
    :param trigger: what events say they came from
    :param content_type: of messages that name none
    """

    def __init__(
        self,
        engine: Engine,
        unit: Unit,
        *,
        origin: str,
        policy: Policy,
        counts: Counts,
        dead_letters: Callable[[], Awaitable[Queue]] | None,
        trigger: object,
        content_type: str | None,
    ) -> None:
        self._engine, self._unit = engine, unit
        self._trigger, self._content_type = trigger, content_type
        self._policy, self._origin, self._counts = policy, origin, counts
        self._dead_letters = dead_letters

    def _ladder(self, part: Part, policy: Policy | None = None) -> Ladder:
        dead_letters = self._dead_letters
        return Ladder(
            policy or self._policy, origin=self._origin, clock=self._engine.clock,
            dead_letters=None if dead_letters is None else lambda: self._letters(part, dead_letters),
            on_given_up=self._given_up, counts=self._counts,
        )  # fmt: skip

    async def _letters(self, part: Part, dead_letters: Callable[[], Awaitable[Queue]]) -> Letters:
        """The queue of dead letters; while the brokers are away nothing can be committed, and so they are waited for.

        :raises PartitionLost: the partition goes to another reader meanwhile
        """
        while True:
            try:
                return Letters(await dead_letters())
            except Unavailable as error:
                logger.warning("%s: dead letters can not be written yet: %s", self._origin, error)
                await self._wait(part, AGAIN_SECONDS)

    async def handle(self, part: Part, message: Message) -> BaseException | None:
        """Run a message; what failed where it can not be dealt with, and ``None`` when it is done.

        :raises PartitionLost: the partition goes to another reader meanwhile
        """
        outbox = Outbox()
        before = OUTBOX.set(outbox)
        try:
            error = await self._attempt(part, message, outbox)
            if error is not None:
                _check(part)
                error = await self._ladder(part).climb(
                    message, error, lambda again: self._attempt(part, again, outbox),
                    lambda seconds: self._wait(part, seconds),
                )  # fmt: skip
        finally:
            OUTBOX.reset(before)
        if error is None:
            part.finish(message, outbox)
        return error

    async def refuse(
        self, part: Part, entry: Entry, error: BaseException, again: Callable[[], Awaitable[BaseException | None]]
    ) -> BaseException | None:
        """Deal with a message that is done, and whose writes are refused; when its dead letter is, reading stops.

        :param again: writes and commits it once more; gives what failed, or ``None``
        :raises PartitionLost: the partition goes to another reader meanwhile
        :return: what it is that can not be dealt with
        """
        is_written = False

        async def attempt(_: Message) -> BaseException | None:
            nonlocal is_written
            failed = await again()
            is_written = failed is None
            return failed

        policy = replace(self._policy, on_failure="stop") if entry.is_refused else self._policy
        outbox = Outbox()
        before = OUTBOX.set(outbox)
        try:
            left = await self._ladder(part, policy).climb(
                entry.message, error, attempt, lambda seconds: self._wait(part, seconds)
            )
        finally:
            OUTBOX.reset(before)
        if is_written:
            return None
        if entry.is_refused and left is not None:
            left.add_note("and its dead letter is not taken either, so that reading stops there")
        outbox.is_sealed = entry.is_refused = True
        entry.outbox = outbox
        return left

    async def _attempt(self, part: Part, message: Message, outbox: Outbox) -> BaseException | None:
        engine = self._engine
        if not engine.gate.try_enter():
            await engine.gate.enter_async()
        run = Run()
        try:
            event = to_event(message, self._content_type)
        except ValueError as unread:
            engine.gate.leave()
            return undecodable(message, self._content_type, unread)
        if self._trigger is not None:
            event.trigger = self._trigger
        part.running = event
        try:
            engine.feed(event, self._unit, run)
            error = await run.until_over()
        finally:
            part.running = None
        if error is not None:
            outbox.clear()
            _check(part)
        return error

    async def _wait(self, part: Part, seconds: float) -> None:
        """Pause before a retry; not when the partition goes meanwhile."""
        sleeping = asyncio.ensure_future(sleep(self._engine.clock, seconds))
        going = asyncio.ensure_future(part.gone.wait())
        try:
            await asyncio.wait([sleeping, going], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            going.cancel()
        _check(part)

    def _given_up(self, message: Message, error: BaseException) -> None:
        """A message was put aside; the error stream and ``engine.errors`` know of it too."""
        if isinstance(error, Exception):
            self._engine.reports.keep(Event(message.value, offset=message.offset), error)


def _check(part: Part) -> None:
    if part.is_revoked:
        raise PartitionLost
