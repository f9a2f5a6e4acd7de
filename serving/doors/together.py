"""Commits of a door that reads exactly once: what messages wrote and how far the group is, in one transaction.

A transaction that fails is not guessed about. It is ended first; then the group's own commit says whether it counted.
What did not count is written again as it is: no message runs twice for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from itertools import islice

from ...errors import InvalidInput, Unavailable
from ...queues.base import Commit, Queue
from ...queues.kafka_consumer import KafkaConsumer
from ...queues.kafka_errors import KafkaFault
from ...queues.kafka_queue import KafkaQueue
from ...queues.message import Message
from .ladder import PartitionLost
from .part import Entry, Part

logger = logging.getLogger("millrace.stream")

MOST_MESSAGES = 10_000
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0

NOT_ITS_FAULT = {"unreachable", "unconfirmed", "login", "moved", "fenced", "closed"}
"""Faults of the brokers, the network or the group: messages without any writes would meet them too."""

Batch = dict[Part, list[Entry]]
Again = Callable[[], Awaitable[BaseException | None]]
Refuse = Callable[[Part, Entry, BaseException, Again], Awaitable[BaseException | None]]


class PartGone(Exception):
    """A partition went to another reader before its transaction had begun."""


class NotNow(Exception):
    """A message that is tried again can not be judged: what failed now is not its fault."""


class Together:
    """Commits what is done in the partitions of one door.

    :param parts: the partitions that the door has now
    :param refuse: deals with a message whose writes are refused, and may write it again; gives what it can not deal
        with
    :param on_fault: called with that
    :param on_done: called with a partition and how many of its messages were committed
    """

    def __init__(
        self,
        queue: KafkaQueue,
        consumer: KafkaConsumer,
        parts: Mapping[int, Part],
        *,
        refuse: Refuse,
        on_fault: Callable[[BaseException], None],
        on_done: Callable[[Part, int], None],
    ) -> None:
        self._queue, self._consumer, self._parts = queue, consumer, parts
        self._refuse, self._on_fault, self._on_done = refuse, on_fault, on_done
        self._most = MOST_MESSAGES
        self._stuck: set[Part] = set()
        self._turn = asyncio.Lock()

    @property
    def is_behind(self) -> bool:
        """Whether something is done that can be committed."""
        return any(part.done for part in self._mine())

    def _mine(self) -> list[Part]:
        """The partitions that are this member's still, and can be committed."""
        assigned = self._consumer.assigned
        return [part for part in self._parts.values() if part.partition in assigned and part not in self._stuck]

    async def commit(self, to_the_end: Collection[Part] = ()) -> None:
        """Commit what is done now; what fails is tried again until its partition is gone.

        :param to_the_end: of these, also what is done meanwhile
        """
        pause = FIRST_PAUSE_SECONDS
        while self.is_behind:
            if not await self._commit_some():
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            elif self._most == MOST_MESSAGES and not any(part.done for part in self._mine() if part in to_the_end):
                return

    async def _commit_some(self) -> bool:
        """One transaction; whether to go on at once."""
        async with self._turn:
            batch = self._taken()
            if not batch:
                return True
            try:
                await self._write(batch)
            except PartGone:
                return False
            except InvalidInput as error:  # that nothing of it counts is certain
                return await self._narrow(batch, error)
            except Exception as error:
                logger.warning("%s: a transaction failed and is tried again: %s", self._queue.url, error)
                if await self._is_left(batch) and _is_refusal(error):
                    return await self._narrow(batch, error)
                return False
            self._finished(batch)
            self._most = min(self._most * 2, MOST_MESSAGES)
            return True

    def _taken(self) -> Batch:
        batch: Batch = {}
        left = self._most
        for part in self._mine():
            entries = list(islice(part.done, left))
            if entries:
                batch[part] = entries
                left -= len(entries)
        return batch

    async def _write(self, batch: Batch) -> None:
        commits = {part.partition: entries[-1].commit for part, entries in batch.items()}
        writes: dict[Queue, list[Message]] = {}
        for entries in batch.values():
            for entry in entries:
                for queue, message in entry.outbox.writes:
                    writes.setdefault(queue, []).append(message)
        if not self._are_mine(batch):
            raise PartGone
        async with self._queue.transaction(self._consumer, commits) as transaction:
            # It speaks for the member as it was when it began: what the group takes away from now on makes it fail.
            if not self._are_mine(batch):
                raise PartGone
            for queue, messages in writes.items():
                await transaction.append(queue, messages)

    def _are_mine(self, batch: Batch) -> bool:
        mine = self._mine()
        return all(part in mine for part in batch)

    def _finished(self, batch: Batch) -> None:
        for part, entries in batch.items():
            part.committed(entries)
            self._on_done(part, len(entries))

    async def _narrow(self, batch: Batch, error: Exception) -> bool:
        """Find the message whose writes are refused, by smaller transactions; alone, it climbs the failure ladder."""
        count = sum(map(len, batch.values()))
        if count > 1:
            self._most = count // 2
            return True
        ((part, (entry,)),) = batch.items()
        before = entry.outbox.size
        try:
            left = await self._refuse(part, entry, error, lambda: self._again(batch))
        except (PartitionLost, PartGone, NotNow):
            return False
        part.size += entry.outbox.size - before
        if left is not None:
            self._stuck.add(part)
            self._on_fault(left)
        return True

    async def _again(self, batch: Batch) -> Exception | None:
        """Write a batch once more; why it is refused, or ``None`` when it counts.

        :raises NotNow: it failed for another reason
        """
        try:
            await self._write(batch)
        except PartGone:
            raise
        except InvalidInput as error:
            return error
        except Exception as error:
            if await self._is_left(batch) and _is_refusal(error):
                return error
            raise NotNow from error
        self._finished(batch)
        return None

    async def _is_left(self, batch: Batch) -> bool:
        """Whether a batch whose transaction failed is still to be written: certain once no transaction is open."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._queue.end_transactions()  # whoever has the partitions now waits for that, too
                if not self._are_mine(batch):
                    return False
                stored = await self._consumer.committed([part.partition for part in batch])
            except Exception as error:
                if not self._are_mine(batch):
                    return False
                logger.info("%s: nobody can say yet how far the group is: %s", self._queue.url, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                continue
            nothing = Commit(-1)
            if all(stored.get(part.partition, nothing).watermark >= entries[-1].commit.watermark
                   for part, entries in batch.items()):  # fmt: skip
                self._finished(batch)
                return False
            return True


def _is_refusal(error: Exception) -> bool:
    """Whether what messages write may be why a transaction failed."""
    fault = error.__cause__
    return fault.kind not in NOT_ITS_FAULT if isinstance(fault, KafkaFault) else not isinstance(error, Unavailable)
