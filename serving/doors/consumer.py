"""The stream door: reads a queue for a group, runs every message through the graph, and commits what is done.

A message is done when everything that it became in the graph has ended. One that fails is tried again in its place,
then becomes a dead letter, is skipped, or stops the door. Nothing else is ever committed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...errors import MillraceError
from ...queues.base import Commit, Consumer, Queue, Start
from ...queues.message import Message
from ..engine.clock import sleep
from ..engine.completion import Completion
from ..engine.engine import Engine
from ..engine.messages import to_event
from ..engine.unit import Unit
from .dead_letters import dead_letter
from .watermark import Watermark

logger = logging.getLogger("millrace.stream")

Ordering = Literal["partition", "key", "none"]
KEY_LANES = 16
LONGEST_BACKOFF_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How a stream is consumed.

    :param ordering: what stays in order: the messages of a ``partition``, of a ``key``, or ``none``
    :param retries: how often a message is tried again; not after an error that is its own fault (4xx)
    :param backoff_seconds: the first pause before a retry; it doubles, with jitter, up to 30 s
    :param then: after the last retry: ``dead_letter``, ``skip``, or ``stop`` and keep
    :param max_in_flight: messages of a partition taken and not done, above which the partition is paused
    :param commit_seconds: how often the watermark is committed
    :param drain_seconds: how long a rebalance or a stop waits for messages that run
    """

    ordering: Ordering = "partition"
    retries: int = 3
    backoff_seconds: float = 0.1
    then: Literal["dead_letter", "skip", "stop"] = "dead_letter"
    max_in_flight: int = 1_000
    commit_seconds: float = 1.0
    drain_seconds: float = 10.0
    start: Start = "earliest"


@dataclass(slots=True)
class Counts:
    """What a door has done."""

    received: int = 0
    done: int = 0
    retried: int = 0
    dead_lettered: int = 0
    skipped: int = 0


@dataclass(slots=True, eq=False)
class Lane:
    """Messages that stay in order: one runs, the others wait."""

    waiting: deque[Message] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class Share:
    """One partition of this door: its watermark and its lanes. A share that was revoked takes nothing any more."""

    partition: int
    marks: Watermark
    lanes: dict[int, Lane] = field(default_factory=dict)
    in_flight: int = 0
    paused: bool = False
    revoked: bool = False
    committed: Commit | None = None


class _StreamCompletion(Completion):
    """The completion of a message: nobody waits for an answer, and an error anywhere makes the message fail."""

    __slots__ = ("error",)

    def __init__(self, done: asyncio.Future[None]) -> None:
        super().__init__(lambda body, error: None, lambda _: done.done() or done.set_result(None))  # type: ignore[func-returns-value]
        self.error: BaseException | None = None

    def fail(self, error: BaseException) -> bool:
        self.failed = True
        self.error = self.error or error
        return True


class StreamDoor:
    """Consumes one queue for one entry of a graph. On the engine's loop.

    :param unit: where the messages come in
    :param dead_letters: the queue that gets what fails, where the policy says so
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
        dead_letters: Queue | None = None,
    ) -> None:
        self.engine = engine
        self.unit = unit
        self.queue = queue
        self.policy = policy or Policy()
        self.dead_letters = dead_letters
        self.counts = Counts()
        self.fault: BaseException | None = None
        self.consumer: Consumer = queue.consumer(
            group, start=self.policy.start, on_assigned=self._assigned, on_revoked=self._revoked
        )
        self._shares: dict[int, Share] = {}
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()

    # -- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Consume until :meth:`stop`, or until a message stops the door; then drain, commit and leave the group.

        :raises Exception: what stopped the door
        """
        committing = asyncio.get_running_loop().create_task(self._commit_now_and_then())
        try:
            while not self._stopping.is_set():
                for message in await self.consumer.poll(timeout_seconds=0.2):
                    self._take(message)
                self._balance()
                await asyncio.sleep(0)
        finally:
            committing.cancel()
            await self._drain(self._shares.values())
            await self._commit()
            await self.consumer.close()
        if self.fault is not None:
            raise self.fault

    def stop(self) -> None:
        """Take no more messages; :meth:`run` ends when those that run are done."""
        self._stopping.set()

    @property
    def in_flight(self) -> int:
        """How many messages were taken and are not done."""
        return sum(share.in_flight for share in self._shares.values())

    # -- taking --------------------------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        share = self._shares.get(message.partition)
        if share is None or not share.marks.deliver(message.offset):
            return
        self.counts.received += 1
        share.in_flight += 1
        lane = share.lanes.setdefault(self._lane_of(message), Lane())
        lane.waiting.append(message)
        if lane.task is None:
            lane.task = asyncio.get_running_loop().create_task(self._work(share, lane))

    def _lane_of(self, message: Message) -> int:
        if self.policy.ordering == "partition":
            return 0
        if self.policy.ordering == "key":
            return hash(message.key) % KEY_LANES
        return message.offset

    def _balance(self) -> None:
        """Pause the partitions that have too much in flight, and resume those that are through half of it."""
        for partition, share in self._shares.items():
            if not share.paused and share.in_flight >= self.policy.max_in_flight:
                share.paused = True
                self.consumer.pause([partition])
            elif share.paused and share.in_flight <= self.policy.max_in_flight // 2:
                share.paused = False
                self.consumer.resume([partition])

    # -- running -------------------------------------------------------------------------------------------------

    async def _work(self, share: Share, lane: Lane) -> None:
        try:
            while lane.waiting and not share.revoked and self.fault is None:
                message = lane.waiting.popleft()
                if await self._handled(message):
                    share.marks.finish(message.offset)
                    self.counts.done += 1
                share.in_flight -= 1
        finally:
            lane.task = None
            if self.policy.ordering == "none":
                share.lanes = {key: one for key, one in share.lanes.items() if one is not lane}
            self._idle.set()

    async def _handled(self, message: Message) -> bool:
        """Run a message, again if need be; whether it is done with."""
        policy = self.policy
        for attempt in range(policy.retries + 1):
            error = await self._attempt(message)
            if error is None:
                return True
            if attempt == policy.retries or not _worth_retrying(error):
                return await self._give_up(message, error, attempt + 1)
            self.counts.retried += 1
            longest = min(policy.backoff_seconds * 2**attempt, LONGEST_BACKOFF_SECONDS)
            await sleep(self.engine.clock, longest * random.uniform(0.5, 1.0))
        return False

    async def _attempt(self, message: Message) -> BaseException | None:
        try:
            event = to_event(message)
        except ValueError as error:
            return Undecodable(f"the message at offset {message.offset} can not be decoded: {error}")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        completion = _StreamCompletion(done)
        await self.engine.enter()
        try:
            self.engine.feed(event, self.unit, completion)
            if completion.pending:
                await done
        finally:
            self.engine.leave()
        return completion.error

    async def _give_up(self, message: Message, error: BaseException, attempts: int) -> bool:
        where = f"{self.queue.url} partition {message.partition} offset {message.offset}"
        if self.policy.then == "skip":
            logger.error("%s is skipped after %d attempts: %s", where, attempts, error)
            self.counts.skipped += 1
            return True
        if self.policy.then == "dead_letter" and self.dead_letters is not None:
            letter = dead_letter(message, error, origin=self.queue.url, attempts=attempts)
            try:
                await self.dead_letters.append([letter])
            except Exception as unwritten:
                error.add_note(f"and its dead letter could not be written to {self.dead_letters.url}: {unwritten}")
            else:
                self.counts.dead_lettered += 1
                logger.warning("%s is a dead letter after %d attempts: %s", where, attempts, error)
                return True
        error.add_note(f"{where} stays uncommitted; the door stops, and begins there when it is started again")
        self.fault = error
        logger.error("the door stops at %s: %s %s", where, error, "; ".join(getattr(error, "__notes__", [])))
        self._stopping.set()
        return False

    # -- commits and rebalances ----------------------------------------------------------------------------------

    async def _assigned(self, commits: Mapping[int, Commit]) -> None:
        for partition, commit in commits.items():
            self._shares[partition] = Share(partition, Watermark(commit), committed=commit)

    async def _revoked(self, partitions: Iterable[int]) -> None:
        shares = [self._shares[one] for one in partitions if one in self._shares]
        for share in shares:
            share.revoked = True
        await self._drain(shares)
        await self._commit(shares)
        for share in shares:
            self._shares.pop(share.partition, None)

    async def _drain(self, shares: Iterable[Share]) -> None:
        """Wait for what runs, up to the time; what waits is left to whoever gets the partition."""
        shares = list(shares)
        for share in shares:
            share.revoked = True
        try:
            async with asyncio.timeout(self.policy.drain_seconds):
                while any(lane.task is not None for share in shares for lane in list(share.lanes.values())):
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            running = sum(lane.task is not None for share in shares for lane in share.lanes.values())
            logger.warning("%s: %d messages still ran after %g s; they will come again", self.queue.url, running,
                           self.policy.drain_seconds)  # fmt: skip

    async def _commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self.policy.commit_seconds)
            try:
                await self._commit()
            except Exception as error:
                logger.warning("%s: the commit failed and will be tried again: %s", self.queue.url, error)

    async def _commit(self, shares: Iterable[Share] | None = None) -> None:
        moved = {}
        for share in list(self._shares.values()) if shares is None else shares:
            commit = share.marks.commit
            if commit != share.committed:
                moved[share.partition] = commit
                share.committed = commit
        if moved:
            await self.consumer.commit(moved)


class Undecodable(MillraceError):
    """A message is not what its content type says."""

    status = 400


def _worth_retrying(error: BaseException) -> bool:
    """Whether another try may help: not after an error that is the message's own fault."""
    return not isinstance(error, MillraceError) or error.status >= 500 or error.status == 429
