"""The stream door: reads a queue for a group, runs every message through the graph, and commits what is done.

A message is done when everything that it became in the graph has ended. One that fails climbs the ladder. Nothing else
is ever committed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping

from ...queues.base import Commit, Consumer, Queue
from ...queues.message import Message
from ..engine.engine import Engine
from ..engine.event import Event
from ..engine.flushing import let_go
from ..engine.intake import Intake
from ..engine.messages import to_event
from ..engine.unit import Unit
from .ladder import LONGEST_BACKOFF_SECONDS, Counts, Ladder, Policy, Undecodable
from .share import Lane, Run, Share
from .watermark import Watermark

logger = logging.getLogger("millrace.stream")

KEY_LANES = 64
POLL_SECONDS = 0.5
POLL_MESSAGES = 500


class StreamDoor:
    """Consumes one queue for one entry of a graph. On the engine's loop.

    :param unit: where the messages come in
    :param dead_letters: gives the queue for what fails, open, where the policy says so
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
        self._trigger = trigger
        self._is_plain = not unit.reaches_async
        self._shares: dict[int, Share] = {}
        self._uncommitted = 0
        self._commit_due = asyncio.Event()
        self._committing = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Consume until :meth:`stop`, or until a message stops the door; then drain, commit and leave the group.

        A backend that fails for a time is asked again, with backoff; one that never answered is an error.

        :raises Exception: what stopped the door
        """
        committer = asyncio.get_running_loop().create_task(self._commit_now_and_then())
        stopped = asyncio.get_running_loop().create_task(self._stopping.wait())
        try:
            await self._consume(stopped)
        finally:
            committer.cancel()
            stopped.cancel()
            await self._drain(self._shares.values())
            await self._commit_at_end()
            await self.consumer.close()
        if self.fault is not None:
            raise self.fault

    async def _consume(self, stopped: asyncio.Task[bool]) -> None:
        backoff, has_polled = 0.5, False
        while not self._stopping.is_set():
            try:
                messages = await self._polled(stopped)
                backoff, has_polled = 0.5, True
            except Exception as error:
                if not has_polled:
                    raise
                logger.warning("%s can not be read, and will be asked again in %.1f s: %s", self.queue.url, backoff, error)
                await self._pause(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
                continue
            for message in messages:
                self._take(message)
            self._balance()
            if self._uncommitted >= self.policy.max_in_flight:
                await self._commit_or_warn()
            elif self._uncommitted >= self.policy.max_in_flight // 2:
                self._commit_due.set()
            await asyncio.sleep(0)

    async def _polled(self, stopped: asyncio.Task[bool]) -> list[Message]:
        return await self.consumer.poll(POLL_MESSAGES, POLL_SECONDS)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter, no secret
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
        lane = share.lanes.get(number)
        if lane is None:
            lane = share.lanes[number] = Lane()
        if self._is_plain and lane.task is None and self._ran_at_once(share, message):
            return
        lane.waiting.append(message)
        if lane.task is None:
            lane.task = asyncio.get_running_loop().create_task(self._work(share, number, lane))

    def _lane_of(self, message: Message) -> int:
        if self.policy.ordering == "partition":
            return 0
        if self.policy.ordering == "key":
            return hash(message.key) % KEY_LANES
        return message.offset

    def _ran_at_once(self, share: Share, message: Message) -> bool:
        """Run a message in this call, without a task; whether it is done."""
        if self.fault is not None or not self.engine.gate.try_enter():
            return False
        run = Run()
        self._start(share, message, run)
        if not run.is_over:
            self._later(self._settle(share, message, run))
            return True
        if run.error is None:
            self._done(share, message)
            return True
        return False  # the lane tries it again, and those behind it wait

    def _balance(self) -> None:
        """Pause the partitions that have too much in flight; what batches hold of them is let go, for more can't come."""
        for share in self._shares.values():
            if not share.is_paused and share.in_flight >= self.policy.max_in_flight:
                share.is_paused = True
                self.consumer.pause([share.partition])
                if share.in_flight == len(share.running):
                    let_go(self.engine)

    # -- running -------------------------------------------------------------------------------------------------

    async def _work(self, share: Share, number: int, lane: Lane) -> None:
        try:
            while lane.waiting and not share.is_revoked and self.fault is None:
                message = lane.waiting.popleft()
                run = Run()
                await self._enter()
                if share.is_revoked:
                    self.engine.gate.leave()
                    share.in_flight -= 1
                    return
                run.moved = asyncio.get_running_loop().create_future()
                self._start(share, message, run)
                if not run.is_over:
                    await run.moved
                if run.is_over:
                    await self._settle(share, message, run)
                else:
                    self._later(self._settle(share, message, run))
        finally:
            lane.task = None
            if self.policy.ordering == "none":
                share.lanes.pop(number, None)
            self._changed.set()

    async def _enter(self) -> None:
        if not self.engine.gate.try_enter():
            await self.engine.gate.enter_async()

    def _start(self, share: Share, message: Message, run: Run) -> None:
        """Let a message into the graph; the gate was entered."""
        try:
            event = to_event(message)
        except ValueError as error:
            self.engine.gate.leave()
            run.end(Undecodable(f"the message is no {message.headers.get('content-type', 'JSON')}: {error}"))
            return
        if self._trigger is not None:
            event.trigger = self._trigger
        share.running[message.offset] = event
        self.engine.feed(event, self.unit, Intake(run.end, run.park))

    async def _settle(self, share: Share, message: Message, run: Run) -> None:
        """Wait for the end of a message that runs, and deal with its failure."""
        error = await run.until_over()
        if error is not None and not share.is_revoked:
            error = await self._ladder.climb(message, error, lambda again: self._again(share, again))
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
        await self._enter()
        run = Run()
        self._start(share, message, run)
        return await run.until_over()

    def _done(self, share: Share, message: Message) -> None:
        offset = message.offset
        share.running.pop(offset, None)
        share.marks.finish(offset)
        share.in_flight -= 1
        self.counts.done += 1
        self._uncommitted += 1
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

    def _later(self, coroutine: object) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- commits and rebalances ----------------------------------------------------------------------------------

    async def _assigned(self, commits: Mapping[int, Commit]) -> None:
        for partition, commit in commits.items():
            self._shares[partition] = Share(partition, Watermark(commit), commit)

    async def _revoked(self, partitions: Iterable[int]) -> None:
        shares = [self._shares[one] for one in partitions if one in self._shares]
        try:
            await self._drain(shares)
            await self._commit(shares)
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
            logger.warning("%s: %d messages still ran after %g s; they will come again", self.queue.url, len(left),
                           self.policy.drain_seconds)  # fmt: skip
            for event in left:
                self.engine.abandon(event)

    async def _commit_now_and_then(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self.policy.commit_seconds):
                    await self._commit_due.wait()
            except TimeoutError:
                pass
            self._commit_due.clear()
            await self._commit_or_warn()

    async def _commit_or_warn(self) -> None:
        try:
            await self._commit()
        except Exception as error:
            logger.warning("%s: the commit failed and will be tried again: %s", self.queue.url, error)
            await asyncio.sleep(self.policy.commit_seconds)

    async def _commit_at_end(self) -> None:
        try:
            await self._commit()
        except Exception as error:
            logger.error("%s: the last commit failed; what it names will come again: %s", self.queue.url, error)

    async def _commit(self, shares: Iterable[Share] | None = None) -> None:
        async with self._committing:
            moved = {}
            for share in list(self._shares.values()) if shares is None else shares:
                commit = share.marks.commit
                if commit != share.committed:
                    moved[share.partition] = commit
            counted = self._uncommitted
            if not moved:
                return
            await self.consumer.commit(moved)
            self._uncommitted -= counted
            for share in shares or list(self._shares.values()):
                share.committed = moved.get(share.partition, share.committed)
