"""A member of a Kafka group on an event loop.

A thread polls the client (:mod:`.kafka_poller`) and runs no code of the user. Partitions come and go in coroutines on
the loop, which the client waits for; they ask the brokers in a second thread, as the first one is in the client then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ..errors import MillraceError
from .base import Commit, Consumer, OnAssigned, OnRevoked, Start
from .kafka_buffers import Buffers
from .kafka_client import Bounds, Member, Rebalance
from .kafka_errors import KafkaFault
from .kafka_poller import Poller
from .message import Message

log = logging.getLogger(__name__)
T = TypeVar("T")
RETRY_SECONDS = 0.5


class KafkaConsumer(Consumer):
    """Made by :meth:`KafkaQueue.consumer`.

    :param join: connects as a member of the group
    :param bounds: where partitions begin and end
    :param explain: a fault in the user's words
    :param buffers: for the messages that are read ahead
    :param drain_seconds: how long `on_revoked` may take
    """

    def __init__(
        self,
        name: str,
        join: Callable[[Rebalance], Member],
        bounds: Callable[[Iterable[int]], Coroutine[Any, Any, Bounds]],
        *,
        explain: Callable[[KafkaFault], MillraceError],
        start: Start,
        on_assigned: OnAssigned | None,
        on_revoked: OnRevoked | None,
        buffers: Buffers,
        drain_seconds: float,
    ) -> None:
        self._name, self._bounds, self._explain = name, bounds, explain
        self._start, self._on_assigned, self._on_revoked = start, on_assigned, on_revoked
        self._drain_seconds = drain_seconds
        self._loop = asyncio.get_running_loop()
        self._buffers = buffers
        self._assigned: set[int] = set()
        self._starting: dict[int, int] = {}
        self._arrived = asyncio.Event()
        self._rebalancing = asyncio.Lock()
        self._failure: Exception | None = None
        self._side = ThreadPoolExecutor(1, "kafka-commit")
        bridge = _Bridge(self, self._loop)
        self._join = lambda: join(bridge)
        self._poller = self._new_poller()
        self._seeks: set[asyncio.Future[None]] = set()
        self._in_hand: frozenset[int] = frozenset()
        self._polled = asyncio.Event()
        self._held_until = 0.0
        self._is_closed = False

    @property
    def read(self) -> int:
        """How many messages were handed out."""
        return self._buffers.taken

    @property
    def assigned(self) -> frozenset[int]:
        """The partitions of this member now."""
        return frozenset(self._assigned)

    async def poll(self, max_messages: int = 500, timeout_seconds: float = 1.0) -> list[Message]:
        """The next messages of the assigned partitions that are not paused; waits for some, up to the time.

        :raises MillraceError: something went wrong; to poll again is to try again. An error that the client did not get
            over has cost the membership, and the next poll joins anew
        """
        if not self._is_closed:
            self._poller.start()
        self._in_hand = frozenset()
        self._polled.set()
        deadline = time.monotonic() + timeout_seconds
        await asyncio.sleep(0)  # a consumer that never waits must not starve the loop
        while not self._is_closed:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                if self._poller.end is not None:
                    await self._leave()
                raise failure
            records = self._buffers.take(max_messages) if time.monotonic() >= self._held_until else []
            if records and (member := self._poller.member) is not None:
                self._poller.stir()
                messages = member.messages(records)
                self._in_hand = frozenset({message.partition for message in messages})
                return messages
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                break
        return []

    def _new_poller(self) -> Poller:
        return Poller(self._name, self._join, self._buffers, arrived=self._arrived.set, failed=self._failed)

    async def _leave(self) -> None:
        """Let go of a membership that has ended by itself, so that another can begin."""
        await self._poller.stop()
        await self.forget(list(self._assigned))
        self._poller = self._new_poller()

    async def commit(self, commits: Mapping[int, Commit]) -> None:
        """Set how far the group is; commits for partitions that are not this member's any more do nothing."""
        offsets = {p: (commit.watermark, commit.metadata) for p, commit in commits.items() if p in self._assigned}
        member = self._poller.member
        if not offsets or member is None:
            return
        try:
            await self._aside(member.commit, offsets)
        except KafkaFault as fault:
            if fault.kind != "moved":
                raise self._explain(fault) from fault
            log.info("%s: a commit came after its partition had gone: %s", self._name, fault)
            # The news of that is on its way. What would be handed out until it comes, somebody else does again.
            self._held_until = time.monotonic() + self._drain_seconds

    def pause(self, partitions: Iterable[int]) -> None:
        """Read no more of these, and keep them."""
        paused = self._assigned & set(partitions)
        self._buffers.pause(paused)
        self._poller.post(lambda member: member.pause(paused))

    def resume(self, partitions: Iterable[int]) -> None:
        """Read these again."""
        resumed = self._assigned & set(partitions)
        self._buffers.resume(resumed)
        self._poller.post(lambda member: member.resume(resumed))
        self._arrived.set()

    async def seek(self, partition: int, offset: int) -> None:
        """Read a partition from this offset on.

        :raises ValueError: the partition is not this member's
        """
        if partition not in self._assigned:
            raise ValueError(
                f"{self._name}: partition {partition} is not assigned to this consumer, which has "
                f"{sorted(self._assigned)}: seek in on_assigned or after a poll"
            )
        if partition in self._starting:  # the client waits for on_assigned, and begins where that says
            self._starting[partition] = offset
            return
        sought: asyncio.Future[None] = self._loop.create_future()
        self._seeks.add(sought)

        def arrived() -> None:
            self._buffers.clear(partition)  # what was read before the thread came to seek
            if not sought.done():
                sought.set_result(None)

        def seek(member: Member) -> None:
            member.seek(partition, offset)
            self._poller.tell(arrived)

        self._buffers.clear(partition)
        self._poller.post(seek)
        try:
            await sought
        finally:
            self._seeks.discard(sought)

    async def committed(self, partitions: Iterable[int]) -> dict[int, Commit]:
        """How far the group is in partitions; waits for transactions that are ending, and so tells of them too.

        :raises MillraceError: the brokers do not say yet
        """
        member = self._poller.member
        try:
            if member is None or self._is_closed:
                raise KafkaFault("moved", "the consumer is closed, or was never polled")
            stored = await self._aside(member.committed, list(partitions))
        except KafkaFault as fault:
            raise self._explain(fault) from fault
        return {p: Commit.parse(offset, metadata) for p, (offset, metadata) in stored.items()}

    async def membership(self) -> Any:
        """Who this member is now, for a transaction.

        :raises UpstreamError: it is a member no more, or not yet
        """
        member = self._poller.member
        try:
            if member is None or self._is_closed:
                raise KafkaFault("moved", "the consumer is closed, or was never polled")
            return await self._aside(member.membership)
        except KafkaFault as fault:
            raise self._explain(fault) from fault

    async def close(self) -> None:
        """Give up the partitions, after ``on_revoked``, and leave the group."""
        if self._is_closed:
            return
        self._is_closed = True
        self._arrived.set()
        self._polled.set()
        try:
            await self.give_up(list(self._assigned))
        finally:
            await self._poller.stop()
            self._side.shutdown(wait=False)
            for sought in self._seeks:
                if not sought.done():
                    sought.set_result(None)

    def wanted(self) -> None:
        """Somebody waits for the thread that polls. From any thread."""
        self._poller.stir()

    async def _aside(self, work: Callable[..., T], *arguments: object) -> T:
        """Call the client in the thread that may wait for the brokers while the other polls."""
        return await self._loop.run_in_executor(self._side, work, *arguments)

    async def take_over(self, partitions: list[int]) -> dict[int, int]:
        """Begin where the group is in new partitions; answers the offsets."""
        async with self._rebalancing:
            commits = await self._begun(partitions)
            self._held_until = 0.0
            self._assigned.update(commits)
            self._buffers.add(commits)
            self._starting = {partition: commit.watermark for partition, commit in commits.items()}
            if commits and self._on_assigned is not None:
                await self._guarded(self._on_assigned(commits), "on_assigned")
            starts, self._starting = self._starting, {}
            return starts

    async def _begun(self, partitions: list[int]) -> dict[int, Commit]:
        """Where to begin; brokers that fail are asked again, as nobody would read these partitions otherwise."""
        deadline = time.monotonic() + self._drain_seconds
        while (member := self._poller.member) is not None and not self._is_closed:
            try:
                return await self._begin(partitions, member)
            except (KafkaFault, MillraceError) as error:
                if isinstance(error, KafkaFault) and error.kind == "moved":
                    break
                if time.monotonic() > deadline:
                    self._poller.give_up(self._explained(error))
                    break
                log.warning("%s: can not begin partitions %s yet: %s", self._name, partitions, error)
                await asyncio.sleep(RETRY_SECONDS)
        return {}

    async def _begin(self, partitions: list[int], member: Member) -> dict[int, Commit]:
        stored = await self._aside(member.committed, partitions)
        commits = {p: Commit.parse(offset, metadata) for p, (offset, metadata) in stored.items()}
        fresh = [p for p in partitions if p not in commits]
        if fresh:
            bounds = await self._bounds(fresh)
            begun = {p: bounds[p][0 if self._start == "earliest" else 1] for p in fresh}
            if self._start == "latest":  # kept, so that what comes before the first commit is not lost
                await self._aside(member.commit, {p: (offset, "") for p, offset in begun.items()})
            commits.update({p: Commit(offset) for p, offset in begun.items()})
        return commits

    async def give_up(self, partitions: list[int]) -> None:
        """Let the application finish with partitions, and commit, while they are still this member's."""
        async with self._rebalancing:
            mine = sorted(self._assigned & set(partitions))
            self._buffers.remove(mine)
            if mine and self._on_revoked is not None:
                await self._guarded(self._on_revoked(mine), "on_revoked")
            elif mine:
                await self._guarded(self._done_with(mine), "handling the messages of the last poll")
            self._assigned.difference_update(mine)
            await self._commits_are_through()

    async def _commits_are_through(self) -> None:
        """Wait for the commits that were asked for before.

        A client sends a commit again until the brokers answer, and each time as the member that it is then. Sent by the
        member that it is next, it would set back what others have committed meanwhile.
        """
        await self._aside(int)

    async def _done_with(self, partitions: list[int]) -> None:
        """Without `on_revoked` it is the next poll that tells that what was handed out is done, and committed."""
        while self._in_hand.intersection(partitions) and not self._is_closed:
            self._polled.clear()
            await self._polled.wait()

    async def forget(self, partitions: list[int]) -> None:
        """Partitions have gone already: commits for them do nothing."""
        async with self._rebalancing:
            mine = sorted(self._assigned & set(partitions))
            self._buffers.remove(mine)
            self._assigned.difference_update(mine)
            if mine:
                log.warning("%s: partitions %s were lost, others may have them already", self._name, mine)
                if self._on_revoked is not None:
                    await self._guarded(self._on_revoked(mine), "on_revoked")
            await self._commits_are_through()

    async def _guarded(self, callback: Any, what: str) -> None:
        """Await the user's callback for a bounded time; what it raises comes out of the next poll."""
        try:
            await asyncio.wait_for(callback, self._drain_seconds)
        except TimeoutError:
            log.warning("%s: %s took over %g s and was cancelled", self._name, what, self._drain_seconds)
        except Exception as error:
            self._fail(error)

    def _failed(self, error: Exception) -> None:
        """The poller's news of what went wrong."""
        if self._poller.end is not None:
            for sought in self._seeks:
                if not sought.done():
                    sought.set_exception(self._explained(error))
        self._fail(self._explained(error))

    def _explained(self, error: Exception) -> Exception:
        return self._explain(error) if isinstance(error, KafkaFault) else error

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._arrived.set()


class _Bridge(Rebalance):
    """From the client's threads to the loop."""

    def __init__(self, consumer: KafkaConsumer, loop: asyncio.AbstractEventLoop) -> None:
        self._consumer, self._loop = consumer, loop

    def assigned(self, partitions: Iterable[int]) -> Future[dict[int, int]]:
        return asyncio.run_coroutine_threadsafe(self._consumer.take_over(sorted(partitions)), self._loop)

    def revoked(self, partitions: Iterable[int]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._consumer.give_up(sorted(partitions)), self._loop)

    def wanted(self) -> None:
        self._consumer.wanted()

    def lost(self, partitions: Iterable[int]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._consumer.forget(sorted(partitions)), self._loop)
