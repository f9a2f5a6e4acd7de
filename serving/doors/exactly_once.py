"""The stream door for Kafka in, Kafka out, exactly once.

As :class:`.consumer.StreamDoor`, it reads a queue for a group, and what fails climbs the ladder. But what queue steps
and dead letters write for a message is kept until the message is done; then it is written together with the commit, in
one transaction. Messages of a partition run one after the other, partitions beside each other.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from time import monotonic

from ...errors import GraphError
from ...queues.base import Commit, Queue
from ...queues.kafka_consumer import KafkaConsumer
from ...queues.kafka_queue import KafkaQueue
from ...queues.message import Message
from ..engine.engine import Engine
from ..engine.unit import Unit
from .handling import Handling
from .ladder import LONGEST_BACKOFF_SECONDS, Counts, PartitionLost, Policy
from .part import Part
from .together import Together
from .watermark import Watermark

logger = logging.getLogger("millrace.stream")

POLL_SECONDS = 0.2
POLL_MESSAGES = 500
SLICE_SECONDS = 0.02
FIRST_BACKOFF_SECONDS = 0.5
LAST_COMMIT_SECONDS = 2.0
"""What there is at least, also when a message has used up the time of the drain."""


class ExactlyOnceDoor:
    """Consumes one topic of Kafka for one entry of a graph. On the engine's loop.

    :param unit: where the messages come in
    :param queue: the topic, open
    :param dead_letters: gives the queue for what fails, open, where the policy says so
    :param trigger: what events say they came from
    :param content_type: of messages that name none; default: JSON
    :ivar counts: what it has done; a message is done when it is committed
    :ivar fault: why it stopped by itself, if it did
    :raises GraphError: the queue is no topic of Kafka
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
        self.queue = queue
        self.group = group
        self.policy = policy or Policy(exactly_once=True)
        self.counts = Counts()
        self.fault: BaseException | None = None
        self._parts: dict[int, Part] = {}
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._committing: set[asyncio.Task[None]] = set()
        self._handling = Handling(
            engine, unit, origin=queue.url, policy=self.policy, counts=self.counts,
            dead_letters=dead_letters, trigger=trigger, content_type=content_type,
        )  # fmt: skip
        if not isinstance(queue, KafkaQueue):
            raise GraphError(f"{queue.url} is no topic of Kafka, and exactly_once=True needs one")
        consumer = queue.consumer(
            group, start=self.policy.start, on_assigned=self._assigned, on_revoked=self._revoked
        )
        assert isinstance(consumer, KafkaConsumer)  # noqa: S101 - those of a KafkaQueue are
        self.consumer = consumer
        self._together = Together(
            queue, consumer, self._parts,
            refuse=self._handling.refuse, on_fault=self._stop_by, on_done=self._committed,
        )  # fmt: skip

    # -- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Consume until :meth:`stop`, or until a message stops the door; then drain, commit and leave the group.

        Brokers that fail for a time are asked again, with backoff; those that never answered are an error.

        :raises Exception: what stopped the door
        """
        committing = asyncio.get_running_loop().create_task(self._commit_now_and_then())
        try:
            await self._consume()
        finally:
            self._stopping.set()
            await self._let_go(list(self._parts.values()))
            await self.consumer.close()
            self._parts.clear()
            for task in (committing, *self._committing):
                task.cancel()
            await asyncio.gather(committing, *self._committing, return_exceptions=True)
        if self.fault is not None:
            raise self.fault

    async def _consume(self) -> None:
        backoff, has_polled = FIRST_BACKOFF_SECONDS, False
        most = min(POLL_MESSAGES, self.policy.max_in_flight)
        while not self._stopping.is_set():
            try:
                messages = await self.consumer.poll(most, POLL_SECONDS)
                backoff, has_polled = FIRST_BACKOFF_SECONDS, True
            except Exception as error:
                if not has_polled:
                    raise
                logger.warning("%s can not be read; again in %.1f s: %s", self.queue.url, backoff, error)
                await self._pause(backoff * random.uniform(0.5, 1.0))
                backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
                continue
            self._take(messages)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def stop(self) -> None:
        """Take no more messages; :meth:`run` ends when those that run are done."""
        self._stopping.set()

    @property
    def in_flight(self) -> int:
        """How many messages were taken and are not committed."""
        return sum(part.in_flight for part in self._parts.values())

    # -- taking and running --------------------------------------------------------------------------------------

    def _take(self, messages: Iterable[Message]) -> None:
        for message in messages:
            part = self._parts.get(message.partition)
            if part is None or part.is_revoked:
                continue
            part.waiting.append(message)
            self.counts.received += 1
            if part.lane is None:
                part.lane = asyncio.get_running_loop().create_task(self._work(part))
        for part in self._parts.values():
            if not part.is_paused and part.in_flight >= self.policy.max_in_flight:
                part.is_paused = True
                self.consumer.pause([part.partition])

    async def _work(self, part: Part) -> None:
        """Run the messages of a partition, one after the other."""
        rest_at = monotonic() + SLICE_SECONDS
        try:
            while part.waiting and self.fault is None:
                message = part.waiting.popleft()
                if not part.marks.deliver(message.offset):
                    continue
                error = await self._handling.handle(part, message)
                if error is not None:
                    self._stop_by(error)
                    return
                await part.until_room()
                if monotonic() > rest_at:  # plain steps give nobody else a turn
                    await asyncio.sleep(0)
                    rest_at = monotonic() + SLICE_SECONDS
        except PartitionLost:
            logger.info("%s: partition %d went while a message failed", self.queue.url, part.partition)
        except Exception as error:
            self._stop_by(error)
        finally:
            part.lane = None
            self._changed.set()

    def _stop_by(self, error: BaseException) -> None:
        self.fault = self.fault or error
        self._stopping.set()

    # -- commits -------------------------------------------------------------------------------------------------

    async def _commit_now_and_then(self) -> None:
        try:
            while not self._stopping.is_set():
                await self._pause(self.policy.commit_seconds)
                await self._together.commit()
        except Exception as error:
            self._stop_by(error)

    def _committed(self, part: Part, count: int) -> None:
        self.counts.done += count
        if part.is_paused and part.in_flight <= self.policy.max_in_flight // 2:
            part.is_paused = False
            self.consumer.resume([part.partition])

    # -- rebalances ----------------------------------------------------------------------------------------------

    async def _assigned(self, commits: Mapping[int, Commit]) -> None:
        for partition, commit in commits.items():
            self._parts[partition] = Part(partition, Watermark(commit))

    async def _revoked(self, partitions: Iterable[int]) -> None:
        parts = [self._parts[one] for one in partitions if one in self._parts]
        kept = [part for part in parts if part.partition in self.consumer.assigned]
        try:
            for part in parts:
                part.revoke()
            await self._let_go(kept)  # the others have gone already: who has them now does all that is not committed
        finally:
            for part in parts:
                self._abandon(part)
                if self._parts.get(part.partition) is part:
                    del self._parts[part.partition]

    async def _let_go(self, parts: list[Part]) -> None:
        """Wait for what runs, and commit, for a bounded time; what is left over is read again by another."""
        over_at = monotonic() + self.policy.drain_seconds
        for part in parts:
            part.revoke()
        try:
            async with asyncio.timeout(self.policy.drain_seconds):
                while any(part.lane is not None for part in parts):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            left = sum(part.lane is not None for part in parts)
            logger.warning(
                "%s: %d messages still ran after %g s; they will come again",
                self.queue.url, left, self.policy.drain_seconds,
            )  # fmt: skip
            for part in parts:
                self._abandon(part)
        if self._together.is_behind:
            # Not cancelled when its time is over: whether a transaction counts is not to be guessed.
            task = asyncio.get_running_loop().create_task(self._together.commit(parts))
            self._committing.add(task)
            task.add_done_callback(self._committing.discard)
            await asyncio.wait([task], timeout=max(LAST_COMMIT_SECONDS, over_at - monotonic()))

    def _abandon(self, part: Part) -> None:
        if part.running is not None:
            self.engine.abandon(part.running)
