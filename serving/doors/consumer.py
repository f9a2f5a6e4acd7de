"""The stream door: reads a queue for a group, runs every message through the graph, and commits what is done.

A message is done when everything that it became in the graph has ended. One that fails climbs the ladder. Nothing else
is ever committed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from time import monotonic
from typing import Any

from ...queues.base import Commit, Consumer, Queue, TopicGone
from ...queues.message import Message
from ..engine.engine import Engine
from ..engine.event import Event
from ..engine.flushing import let_go
from ..engine.lean import only_bodies
from ..engine.messages import to_event
from ..engine.unit import Unit
from .commits import Committer
from .ladder import LONGEST_BACKOFF_SECONDS, Counts, Ladder, PartitionLost, Policy, undecodable
from .mending import Mender
from .share import Lane, Run, Share
from .through import Through
from .watermark import Watermark

logger = logging.getLogger("millrace.stream")

POLL_SECONDS = 0.2
POLL_MESSAGES = 2_000
SLICE_SECONDS = 0.02
FIRST_BACKOFF_SECONDS = 0.5


class StreamDoor:
    """Consumes one queue for one entry of a graph. On the engine's loop.

    :param unit: where the messages come in
    :param dead_letters: gives the queue for what fails, open, where the policy says so
    :param trigger: what events say they came from
    :param content_type: of messages that name none; default: JSON
    :ivar counts: what it has done
    :ivar fault: why it stopped by itself, if it did
    """

    def __init__(
        self,
        engine: Engine,
        unit: Unit,
        queue: Queue,
        *,
        group: str,
        policy: Policy | None = None,
        dead_letters: Callable[[], Awaitable[Queue]] | None = None,
        trigger: object = None,
        content_type: str | None = None,
    ) -> None:
        self.engine = engine
        self.unit = unit
        self.queue = queue
        self.group = group
        self.policy = policy or Policy()
        self.counts = Counts()
        self.fault: BaseException | None = None
        self.consumer: Consumer = queue.consumer(
            group, start=self.policy.start, on_assigned=self._assigned, on_revoked=self._revoked
        )
        ladder = Ladder(
            self.policy, origin=queue.url, clock=engine.clock, dead_letters=dead_letters,
            on_given_up=self._given_up, counts=self.counts,
        )  # fmt: skip
        in_order = self.policy.ordering == "partition"
        self._mender = Mender(ladder, engine.clock, self._again, in_order=in_order)
        self._committer = Committer(
            self.consumer, url=queue.url, seconds=self.policy.commit_seconds, most_done=self.policy.max_in_flight,
            on_commit=self._resume,
        )  # fmt: skip
        self._trigger = trigger
        self._content_type = content_type
        self._is_plain = not unit.reaches_async
        segment = only_bodies(unit)
        self._through = Through(engine, segment, content_type, self._event) if segment is not None else None
        self._shares: dict[int, Share] = {}
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Consume until :meth:`stop`, or until a message stops the door; then drain, commit and leave the group.

        A backend that fails for a time is asked again, with backoff; one that never answered is an error, and a topic
        that was deleted is one, too.

        :raises Exception: what stopped the door
        """
        committing = asyncio.get_running_loop().create_task(self._committer.run(self._shares))
        try:
            await self._consume()
        finally:
            committing.cancel()
            await self._drain(self._shares.values())
            await self._committer.commit_at_end(self._shares.values())
            self._shares.clear()  # closing revokes them; what can not be committed now is not tried again there
            await self.consumer.close()
        if self.fault is not None:
            raise self.fault

    async def _consume(self) -> None:
        backoff, has_polled = FIRST_BACKOFF_SECONDS, False
        while not self._stopping.is_set():
            try:
                messages = await self.consumer.poll(self._room(), POLL_SECONDS)
                backoff, has_polled = FIRST_BACKOFF_SECONDS, True
            except Exception as error:
                if not has_polled or isinstance(error, TopicGone):
                    raise
                logger.warning("%s can not be read; again in %.1f s: %s", self.queue.url, backoff, error)
                await self._pause(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
                continue
            await self._take_all(messages)
            self._balance()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds * random.uniform(0.5, 1.0)):
                await self._stopping.wait()
        except TimeoutError:
            return

    def stop(self) -> None:
        """Take no more messages; :meth:`run` ends when those that run are done."""
        self._stopping.set()

    @property
    def in_flight(self) -> int:
        """How many messages were taken and are not done."""
        return sum(share.in_flight for share in self._shares.values())

    @property
    def assigned(self) -> list[int]:
        """The partitions that this door reads now."""
        return sorted(self._shares)

    # -- taking --------------------------------------------------------------------------------------------------

    async def _take_all(self, messages: list[Message]) -> None:
        """Take messages in turn, in slices of time: between them commits, rebalances and the end get their turn."""
        position, shares = 0, dict(self._shares)  # a partition that goes and comes back meanwhile is read anew
        while position < len(messages) and not self._stopping.is_set():
            position = self._take_some(shares, messages, position)
            self._balance()
            await self._committer.keep_up(self._shares.values())
            await asyncio.sleep(0)

    def _take_some(self, shares: dict[int, Share], messages: list[Message], position: int) -> int:
        """Take messages from a position on, until the slice of time is over; the position then."""
        over_at = monotonic() + SLICE_SECONDS
        while position < len(messages) and monotonic() < over_at:
            message = messages[position]
            share = shares.get(message.partition)
            if self._through is not None and share is not None and share.is_clear and self.fault is None:
                position = self._take_through(share, self._through, messages, position, over_at)
                continue
            if share is not None:
                self._take(share, message)
            position += 1
        return position

    def _take_through(
        self, share: Share, through: Through, messages: list[Message], position: int, over_at: float
    ) -> int:
        """Run messages of a partition in which nothing is under way; they need no books of their own."""
        end, done, failed = through.run_all(share, messages, position, over_at)
        self.counts.received += done
        self.counts.done += done
        self._committer.pending += done
        if failed is not None:
            message = messages[end - 1]
            share.marks.deliver(message.offset)
            self._enter(share)
            self._follow(share, message, self._lane_of(message), failed)
        return end

    def _take(self, share: Share, message: Message) -> None:
        if share.is_revoked or not share.marks.deliver(message.offset):
            return
        self._enter(share)
        number = self._lane_of(message)
        run = self._run_at_once(share, message) if self._is_plain and number not in share.lanes else None
        if run is None:
            lane = share.lane(number)
            lane.waiting.append(message)
            if lane.task is None:
                lane.task = asyncio.get_running_loop().create_task(self._work(share, number, lane))
        else:
            self._follow(share, message, number, run)

    def _enter(self, share: Share) -> None:
        self.counts.received += 1
        share.in_flight += 1

    def _follow(self, share: Share, message: Message, number: int, run: Run) -> None:
        """See to a message that was run at once."""
        if not run.is_over:
            self._settle_later(share, message, run)
        elif run.error is None:
            self._done(share, message)
        else:
            lane = share.lane(number)
            lane.task = asyncio.get_running_loop().create_task(self._work(share, number, lane, (message, run)))

    def _lane_of(self, message: Message) -> int:
        if self.policy.ordering == "partition":
            return 0
        if self.policy.ordering == "key":
            return hash(message.key) if message.key is not None else message.offset
        return message.offset

    def _run_at_once(self, share: Share, message: Message) -> Run | None:
        """Run a message in this call, without a task; ``None`` where it must wait."""
        if self.fault is not None:
            return None
        if self._through is not None:
            return self._through.run(message)
        if not self.engine.gate.try_enter():
            return None
        run = Run()
        self._start(share, message, run)
        return run

    def _balance(self) -> None:
        """Pause partitions of which too much is not committed. What batches hold of it is let go: no more can come."""
        most = self.policy.max_in_flight
        for share in self._shares.values():
            if not share.is_paused and (self._committer.is_stuck or share.uncommitted >= most):
                share.is_paused = True
                self.consumer.pause([share.partition])
            if share.is_paused and share.in_flight > most // 2 and share.in_flight == len(share.running):
                let_go(self.engine)

    def _resume(self) -> None:
        """Read the paused partitions again of which enough is committed now."""
        for share in self._shares.values():
            if share.is_paused and share.uncommitted <= self.policy.max_in_flight // 2:
                share.is_paused = False
                self.consumer.resume([share.partition])

    def _room(self) -> int:
        """How many messages may come at once, whichever partition they are of."""
        fullest = max((share.uncommitted for share in self._shares.values() if not share.is_paused), default=0)
        return max(1, min(POLL_MESSAGES, self._committer.room, self.policy.max_in_flight - fullest))

    # -- running -------------------------------------------------------------------------------------------------

    async def _work(
        self, share: Share, number: int, lane: Lane, failed: tuple[Message, Run] | None = None
    ) -> None:
        """Run the messages of a lane, one after the other, and end the lane.

        :param failed: one that was run at once and failed; those behind it wait until it is dealt with
        """
        try:
            if failed is not None:
                await self._settle(share, *failed)
            while lane.waiting and not share.is_revoked and self.fault is None:
                if share.repair.locked():
                    async with share.repair:
                        continue
                message = lane.waiting.popleft()
                if not self.engine.gate.try_enter():
                    await self.engine.gate.enter_async()
                run = Run()
                self._start(share, message, run)
                await run.until_moved()
                if run.is_over:
                    await self._settle(share, message, run)
                else:
                    self._settle_later(share, message, run)
        finally:
            lane.task = None
            if not lane.waiting:
                del share.lanes[number]
            self._changed.set()

    def _start(self, share: Share, message: Message, run: Run) -> None:
        """Let a message into the graph; the gate was entered."""
        try:
            event = self._event(message)
        except ValueError as error:
            self.engine.gate.leave()
            run.end(undecodable(message, self._content_type, error))
            return
        share.running[message.offset] = event
        self.engine.feed(event, self.unit, run)

    def _event(self, message: Message) -> Event:
        event = to_event(message, self._content_type)
        if self._trigger is not None:
            event.trigger = self._trigger
        return event

    def _settle_later(self, share: Share, message: Message, run: Run) -> None:
        """Do it when the message is over; only for one that failed that takes a task."""

        def then() -> None:
            if run.error is None:
                self._done(share, message)
            else:
                self._later(self._settle(share, message, run))

        run.then = then

    async def _settle(self, share: Share, message: Message, run: Run) -> None:
        """Wait for the end of a message that runs, and deal with its failure."""
        error = await run.until_over()
        if error is not None and not share.is_revoked:
            error = await self._mender.mend(share, message, error)
        if error is None:
            self._done(share, message)
            return
        share.running.pop(message.offset, None)
        share.in_flight -= 1
        if not share.is_revoked:
            self.fault = error
            self._stopping.set()
        self._changed.set()

    async def _again(self, share: Share, message: Message) -> BaseException | None:
        if not self.engine.gate.try_enter():
            await self.engine.gate.enter_async()
        run = Run()
        self._start(share, message, run)
        error = await run.until_over()
        if error is not None and share.is_revoked:
            raise PartitionLost
        return error

    def _done(self, share: Share, message: Message) -> None:
        share.running.pop(message.offset, None)
        share.marks.finish(message.offset)
        share.in_flight -= 1
        self.counts.done += 1
        self._committer.done()
        if share.is_revoked:
            self._changed.set()

    def _given_up(self, message: Message, error: BaseException) -> None:
        """A message was put aside; the error stream and ``engine.errors`` know of it too."""
        share = self._shares.get(message.partition)
        event = share.running.get(message.offset) if share is not None else None
        if isinstance(error, Exception):
            self.engine.reports.keep(event or Event(message.value, offset=message.offset), error)

    def _later(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- rebalances ----------------------------------------------------------------------------------------------

    async def _assigned(self, commits: Mapping[int, Commit]) -> None:
        for partition, commit in commits.items():
            self._shares[partition] = Share(partition, Watermark(commit), commit)

    async def _revoked(self, partitions: Iterable[int]) -> None:
        shares = [self._shares[one] for one in partitions if one in self._shares]
        try:
            await self._drain(shares)
            await self._committer.commit(self._shares.values())
        finally:
            for share in shares:
                self._shares.pop(share.partition, None)

    async def _drain(self, shares: Iterable[Share]) -> None:
        """Wait for what runs, up to the time; what does not end is stopped, and comes again."""
        shares = list(shares)
        for share in shares:
            share.revoke()
        try:
            async with asyncio.timeout(self.policy.drain_seconds):
                while any(share.in_flight for share in shares):
                    self._changed.clear()
                    let_go(self.engine)
                    await self._changed.wait()
        except TimeoutError:
            left = [event for share in shares for event in share.running.values()]
            logger.warning(
                "%s: %d messages still ran after %g s; they will come again",
                self.queue.url, len(left), self.policy.drain_seconds,
            )  # fmt: skip
            for event in left:
                self.engine.abandon(event)
