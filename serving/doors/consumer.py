"""The stream door: reads a queue for a group, runs every message through the graph, and commits what is done.

A message is done when everything that it became in the graph has ended. One that fails climbs the ladder. Nothing else
is ever committed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from ...queues.base import Commit, Consumer, Queue
from ...queues.message import Message
from ..engine.clock import sleep
from ..engine.engine import Engine
from ..engine.event import Event
from ..engine.flushing import let_go
from ..engine.messages import body_of, to_event
from ..engine.unit import EVENT, Segment, Unit
from .commits import Committer
from .ladder import LONGEST_BACKOFF_SECONDS, Counts, Ladder, PartitionLost, Policy, Undecodable
from .share import Lane, Run, Scratch, Share
from .watermark import Watermark

logger = logging.getLogger("millrace.stream")

KEY_LANES = 64
POLL_SECONDS = 0.2
POLL_MESSAGES = 500
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
        self._ladder = Ladder(
            self.policy, origin=queue.url, clock=engine.clock, dead_letters=dead_letters,
            on_given_up=self._given_up, counts=self.counts,
        )  # fmt: skip
        self._committer = Committer(
            self.consumer, url=queue.url, seconds=self.policy.commit_seconds, most_done=self.policy.max_in_flight
        )
        self._trigger = trigger
        self._content_type = content_type
        self._is_plain = not unit.reaches_async
        self._segment = only_bodies(unit)
        self._scratch: Any = Scratch()
        self._shares: dict[int, Share] = {}
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Consume until :meth:`stop`, or until a message stops the door; then drain, commit and leave the group.

        A backend that fails for a time is asked again, with backoff; one that never answered is an error.

        :raises Exception: what stopped the door
        """
        committing = asyncio.get_running_loop().create_task(self._committer.run(self._shares))
        try:
            await self._consume()
        finally:
            committing.cancel()
            await self._drain(self._shares.values())
            await self._commit_at_end()
            await self.consumer.close()
        if self.fault is not None:
            raise self.fault

    async def _consume(self) -> None:
        backoff, has_polled = FIRST_BACKOFF_SECONDS, False
        while not self._stopping.is_set():
            try:
                messages = await self.consumer.poll(POLL_MESSAGES, POLL_SECONDS)
                backoff, has_polled = FIRST_BACKOFF_SECONDS, True
            except Exception as error:
                if not has_polled:
                    raise
                logger.warning("%s can not be read; again in %.1f s: %s", self.queue.url, backoff, error)
                await self._pause(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
                continue
            for message in messages:
                self._take(message)
            self._balance()
            await self._committer.keep_up(self._shares.values())
            await asyncio.sleep(0)

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

    def _take(self, message: Message) -> None:
        share = self._shares.get(message.partition)
        if share is None or share.is_revoked or not share.marks.deliver(message.offset):
            return
        self.counts.received += 1
        share.in_flight += 1
        number = self._lane_of(message)
        run = self._run_at_once(share, message) if self._is_plain and number not in share.lanes else None
        if run is None:
            lane = share.lane(number)
            lane.waiting.append(message)
            if lane.task is None:
                lane.task = asyncio.get_running_loop().create_task(self._work(share, number, lane))
        elif not run.is_over:
            self._later(self._settle(share, message, run))
        elif run.error is None:
            self._done(share, message)
        else:
            lane = share.lane(number)
            lane.task = asyncio.get_running_loop().create_task(self._work(share, number, lane, (message, run)))

    def _lane_of(self, message: Message) -> int:
        if self.policy.ordering == "partition":
            return 0
        if self.policy.ordering == "key":
            return hash(message.key) % KEY_LANES
        return message.offset

    def _run_at_once(self, share: Share, message: Message) -> Run | None:
        """Run a message in this call, without a task; ``None`` where it must wait."""
        if self.fault is not None:
            return None
        if self._segment is not None:
            return self._run_segment(self._segment, message)
        if not self.engine.gate.try_enter():
            return None
        run = Run()
        self._start(share, message, run)
        return run

    def _run_segment(self, segment: Segment, message: Message) -> Run:
        """The same where all the graph is one segment of bodies: not even an event is made unless it fails."""
        scratch = self._scratch
        try:
            body = body_of(message, self._content_type)
        except ValueError as error:
            return _failed_run(self._undecodable(message, error))
        try:
            segment.run(self.engine, scratch, body)
        except Exception as error:
            run = Run()
            event = self._event(message)
            event._failed, event.body = scratch._failed, scratch.body
            self.engine.feed_failed(event, error, run)
            return run
        return _DONE

    def _balance(self) -> None:
        """Pause the partitions that have too much in flight. What batches hold of it is let go: no more can come."""
        for share in self._shares.values():
            if not share.is_paused and share.in_flight >= self.policy.max_in_flight:
                share.is_paused = True
                self.consumer.pause([share.partition])
            if share.is_paused and share.in_flight == len(share.running):
                let_go(self.engine)

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
                message = lane.waiting.popleft()
                if not self.engine.gate.try_enter():
                    await self.engine.gate.enter_async()
                run = Run()
                self._start(share, message, run)
                await run.until_moved()
                if run.is_over:
                    await self._settle(share, message, run)
                else:
                    self._later(self._settle(share, message, run))
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
            run.end(self._undecodable(message, error))
            return
        share.running[message.offset] = event
        self.engine.feed(event, self.unit, run)

    def _event(self, message: Message) -> Event:
        event = to_event(message, self._content_type)
        if self._trigger is not None:
            event.trigger = self._trigger
        return event

    def _undecodable(self, message: Message, error: ValueError) -> Undecodable:
        what = message.headers.get("content-type") or self._content_type or "JSON"
        return Undecodable(f"the message is no {what}: {error}")

    async def _settle(self, share: Share, message: Message, run: Run) -> None:
        """Wait for the end of a message that runs, and deal with its failure."""
        error = await run.until_over()
        if error is not None and not share.is_revoked:
            try:
                error = await self._ladder.climb(
                    message, error, lambda again: self._again(share, again), lambda seconds: self._wait(share, seconds)
                )
            except PartitionLost as lost:
                error = lost
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

    async def _wait(self, share: Share, seconds: float) -> None:
        """Pause before a retry; not when the partition goes meanwhile."""
        sleeping = asyncio.ensure_future(sleep(self.engine.clock, seconds))
        going = asyncio.ensure_future(share.gone.wait())
        try:
            await asyncio.wait([sleeping, going], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            going.cancel()
        if share.is_revoked:
            raise PartitionLost

    def _done(self, share: Share, message: Message) -> None:
        share.running.pop(message.offset, None)
        share.marks.finish(message.offset)
        share.in_flight -= 1
        self.counts.done += 1
        self._committer.pending += 1
        if share.is_paused and share.in_flight <= self.policy.max_in_flight // 2:
            share.is_paused = False
            self.consumer.resume([share.partition])
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
            await self._committer.commit(shares)
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

    async def _commit_at_end(self) -> None:
        try:
            await self._committer.commit(self._shares.values())
        except Exception as error:
            logger.error("%s: the last commit failed; what it names will come again: %s", self.queue.url, error)


def only_bodies(unit: Unit) -> Segment | None:
    """The unit, if it is all there is behind it and its steps take bodies, not events."""
    if not isinstance(unit, Segment) or unit.outlets or unit.max_rounds:
        return None
    return unit if all(kind != EVENT for kind, _, _ in unit.ops) else None


def _failed_run(error: BaseException | None) -> Run:
    run = Run()
    run.end(error)
    return run


_DONE = _failed_run(None)
"""The run of every message that went well at once."""
