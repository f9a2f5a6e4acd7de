"""Messages that Nuclio's stream triggers bring: run, tried again, put aside, and acknowledged when they are done.

Nuclio gives the next message of a partition when the handler has returned. So the handler is what a lane is elsewhere:
it waits until a message is done, or held by a batch for which more messages must come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from ...errors import Unavailable
from ...queues.base import Commit
from ...queues.message import Message
from ..engine.clock import sleep
from ..engine.engine import Engine
from ..engine.event import Event, MockTrigger
from ..engine.flushing import let_go
from ..engine.intake import Intake
from ..engine.lean import Scratch
from ..engine.unit import Segment
from .ladder import Counts, Ladder, PartitionLost, Undecodable
from .nuclio_ack import Acks, Place
from .nuclio_delivery import Attempt, Delivery
from .nuclio_event import ACKNOWLEDGED_KINDS, KAFKA_KINDS, message, topic_of, trigger_of
from .nuclio_straight import NOT_HERE, Straight
from .nuclio_streams import NuclioStreams, Source
from .share import Share
from .watermark import Watermark

logger = logging.getLogger("millrace.stream")


class NuclioReader:
    """Runs the messages of this worker's partitions. On the engine's loop.

    :param on_fault: called when a message must stay, and reading stop
    :ivar counts: what it has done
    :ivar fault: why it stopped, if it did
    """

    def __init__(
        self, engine: Engine, streams: NuclioStreams, acks: Acks, *, on_fault: Callable[[BaseException], None]
    ) -> None:
        self.engine = engine
        self.counts = Counts()
        self.fault: BaseException | None = None
        self._streams = streams
        self._acks = acks
        self._on_fault = on_fault
        self._shares: dict[Place, Share] = {}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._scratch: Any = Scratch()
        self._straight: dict[tuple[str, str, int], Straight] = {}

    @property
    def in_flight(self) -> int:
        """How many messages were taken and are not done."""
        return sum(share.in_flight for share in self._shares.values())

    # -- taking --------------------------------------------------------------------------------------------------

    def begin(self, event: Any) -> Coroutine[Any, Any, None] | None:
        """Take a message; ``None`` when it is done, else what to await until the next one of its partition may come.

        :param event: a ``nuclio_sdk.Event`` from a trigger of a stream
        """
        straight = self._straight.get((event.trigger.name, event.topic, event.shard_id))
        if straight is None or self.fault is not None or (body := straight.body(event)) is NOT_HERE:
            return self.take(event)
        self.counts.received += 1
        try:
            straight.run(body)
        except Exception as error:
            return self._failed_straight(event, straight, error)
        self.counts.done += 1
        straight.share.marks.finish(event.offset)
        self._acks.moved(straight.place, straight.share)
        return self._acks.flush() if self._acks.is_due else None

    async def _failed_straight(self, event: Any, straight: Straight, error: Exception) -> None:
        straight.share.in_flight += 1
        one = Delivery(straight.source, message(event), trigger_of(event), straight.share, straight.place)
        await self._settle(one, self._failed(one, straight.scratch, error))
        self._check()

    async def take(self, event: Any) -> None:
        """Take a message; return when the next one of its partition may come.

        :param event: a ``nuclio_sdk.Event`` from a trigger of a stream
        :raises Unavailable: reading has stopped, or the worker ends
        :raises GraphError: no queue of the graph is what the trigger brings
        """
        self._check()
        source = self._streams.source_of(self.engine, event)
        trigger, one = trigger_of(event), message(event)
        place = (topic_of(event), one.partition)
        if trigger.kind not in ACKNOWLEDGED_KINDS:
            # The handler's return is the acknowledgement: nothing may be left to do then, and no offset is kept.
            begin = Commit(one.offset)
            share = Share(one.partition, Watermark(begin), begin)
            await self._work(self._taken(source, one, trigger, share, place), is_last=True)
            self._check()
            return
        share = self._share(place, one.offset)
        if source.segment is not None and event.trigger.kind in KAFKA_KINDS:
            self._find_straight(event, source, source.segment, share, place)
        work = self._work(self._taken(source, one, trigger, share, place))
        if source.wire.policy.ordering == "none":
            self._later(work)
        else:
            await work
        await self._until_room(share, source.wire.policy.max_in_flight)
        await self._acks.flush_if_due()
        self._check()

    def _find_straight(self, event: Any, source: Source, segment: Segment, share: Share, place: Place) -> None:
        """Let the next messages of a partition go straight."""
        key = (event.trigger.name, event.topic, event.shard_id)
        known = self._straight.get(key)
        if known is None or known.share is not share:
            self._straight[key] = Straight(self.engine, source, segment, share, place)

    def _check(self) -> None:
        if self.fault is not None:
            raise Unavailable("reading has stopped at a message that failed; the worker begins there when it restarts")

    def _taken(self, source: Source, one: Message, trigger: MockTrigger, share: Share, place: Place) -> Delivery:
        self.counts.received += 1
        share.in_flight += 1
        return Delivery(source, one, trigger, share, place)

    def _share(self, place: Place, offset: int) -> Share:
        """The partition of a message. An offset that came before says that the partition was given to us anew."""
        share = self._shares.get(place)
        if share is None or not share.marks.deliver(offset):
            if share is not None:
                share.revoke()
                self._acks.forget(place)
            begin = Commit(offset)
            share = self._shares[place] = Share(place[1], Watermark(begin), begin)
            share.marks.deliver(offset)
        return share

    async def _until_room(self, share: Share, most: int) -> None:
        """Where too much of a partition is not done: let go what batches hold of it, and wait for half."""
        if share.in_flight < most:
            return
        while share.in_flight > most // 2 and not share.is_revoked and self.fault is None:
            self._changed.clear()
            let_go(self.engine)
            if share.in_flight > most // 2:
                await self._changed.wait()

    # -- running -------------------------------------------------------------------------------------------------

    async def _work(self, one: Delivery, *, is_last: bool = False) -> None:
        """Run a message until it is done, or held.

        :param is_last: no other message comes before it is done, so batches must not wait for more
        """
        try:
            attempt = await self._begin(one)
        except BaseException:
            self._left(one)
            raise
        if not attempt.is_over:
            await attempt.until_moved()
        while is_last and not attempt.is_over:
            let_go(self.engine)
            await attempt.until_moved()
        if attempt.is_over:
            await self._settle(one, attempt)
        else:
            self._changed.set()
            self._later(self._settle(one, attempt))

    async def _begin(self, one: Delivery) -> Attempt:
        """Let a message into the graph."""
        if one.source.segment is not None:
            return self._run_segment(one, one.source.segment)
        gate, attempt = self.engine.gate, Attempt()
        if not gate.try_enter():
            await gate.enter_async()
        try:
            event = one.event()
        except Undecodable as error:
            gate.leave()
            attempt.end(error)
        else:
            self.engine.feed(event, one.source.unit, Intake(attempt.end, attempt.park))
        return attempt

    def _run_segment(self, one: Delivery, segment: Segment) -> Attempt:
        """Run a message where all the graph is one segment of bodies: not even an event is made unless it fails."""
        attempt, scratch = Attempt(), self._scratch
        try:
            segment.run(self.engine, scratch, one.body())
        except Undecodable as error:
            attempt.end(error)
        except Exception as error:
            return self._failed(one, scratch, error)
        else:
            attempt.end(None)
        return attempt

    def _failed(self, one: Delivery, scratch: Any, error: Exception) -> Attempt:
        """The attempt at a message that failed in a segment; its catcher may save it."""
        attempt = Attempt()
        self.engine.feed_failed(scratch.failed_in(one.event()), error, Intake(attempt.end, attempt.park))
        return attempt

    async def _settle(self, one: Delivery, attempt: Attempt) -> None:
        """Wait for the end of a message, and deal with its failure."""
        error = await attempt.until_over()
        if error is not None and not one.share.is_revoked:
            try:
                error = await self._ladder(one).climb(
                    one.message, error, lambda _: self._again(one), lambda seconds: self._pause(one, seconds)
                )
            except Exception as raised:
                error = raised
        self._left(one)
        if error is None:
            self.counts.done += 1
            one.share.marks.finish(one.message.offset)
            if one.trigger.kind in ACKNOWLEDGED_KINDS:
                self._acks.moved(one.place, one.share)
        elif not one.share.is_revoked:
            self.fault = error
            self.engine.faults.append(f"{one.source.wire.url} is not read any more: {error}")
            self._on_fault(error)

    async def _again(self, one: Delivery) -> BaseException | None:
        attempt = await self._begin(one)
        while not attempt.is_over:
            await attempt.until_moved()
            let_go(self.engine)  # those behind it wait for it
        if attempt.error is not None and one.share.is_revoked:
            raise PartitionLost
        return attempt.error

    async def _pause(self, one: Delivery, seconds: float) -> None:
        """Wait before a retry; not when the partition goes meanwhile."""
        sleeping = asyncio.ensure_future(sleep(self.engine.clock, seconds))
        going = asyncio.ensure_future(one.share.gone.wait())
        try:
            await asyncio.wait((sleeping, going), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            going.cancel()
        if one.share.is_revoked:
            raise PartitionLost

    def _left(self, one: Delivery) -> None:
        one.share.running.pop(one.message.offset, None)
        one.share.in_flight -= 1
        self._changed.set()

    def _ladder(self, one: Delivery) -> Ladder:
        def given_up(failed: Message, error: BaseException) -> None:
            event = one.share.running.get(failed.offset)
            if isinstance(error, Exception):
                self.engine.reports.keep(event or Event(failed.value, offset=failed.offset), error)

        return Ladder(
            one.source.wire.policy, origin=one.source.wire.url, clock=self.engine.clock,
            dead_letters=one.source.dead_letters, on_given_up=given_up, counts=self.counts,
        )  # fmt: skip

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("a message was not run, and will come again: %s", error)

    # -- ends ----------------------------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> None:
        """The partitions go elsewhere: wait for what runs, up to the time, and acknowledge what is done.

        What does not end in time is stopped, and comes again.
        """
        shares = list(self._shares.values())
        for share in shares:
            share.revoke()
        try:
            async with asyncio.timeout(seconds):
                while any(share.in_flight for share in shares):
                    self._changed.clear()
                    let_go(self.engine)
                    if any(share.in_flight for share in shares):
                        await self._changed.wait()
        except TimeoutError:
            self._abandon(shares, seconds)
        await self._acks.flush()
        for place, share in list(self._shares.items()):
            if share in shares:
                del self._shares[place]
                self._acks.forget(place)
        self._straight = {key: one for key, one in self._straight.items() if not one.share.is_revoked}

    def _abandon(self, shares: Iterable[Share], seconds: float) -> None:
        left = [event for share in shares for event in share.running.values()]
        logger.warning("%d messages still ran after %g s of draining; they will come again", len(left), seconds)
        for event in left:
            self.engine.abandon(event)
