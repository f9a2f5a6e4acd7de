"""Kafka in, Kafka out, exactly once: messages and a commit that count together or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from ..errors import MillraceError
from .base import Queue
from .kafka_client import Offsets, Transactor
from .kafka_errors import KafkaFault
from .message import Message

log = logging.getLogger(__name__)
T = TypeVar("T")
Placed = Callable[[Queue, Sequence[Message]], tuple[str, list[Message]]]
"""The topic of a queue, and messages as its partitions take them."""


class KafkaTransaction:
    """What is written while a transaction is open. Made by :meth:`.kafka_queue.KafkaQueue.transaction`."""

    def __init__(self, send: Callable[[Queue, Sequence[Message]], Awaitable[None]]) -> None:
        self._send = send

    async def append(self, queue: Queue, messages: Sequence[Message]) -> None:
        """Write messages to a topic of the same cluster. They count, and are read, when the transaction has ended.

        :raises ValueError: the queue is no topic of that cluster, or has no such partition
        """
        await self._send(queue, messages)


class Transactions:
    """Transactions of one source, one after the other. Made on the loop that they are used on.

    :param make: connects, and ends what was left open under the same name
    :param explain: a fault in the user's words
    """

    def __init__(
        self, make: Callable[[], Transactor], *, placed: Placed, explain: Callable[[KafkaFault], MillraceError]
    ) -> None:
        self._make, self._placed, self._explain = make, placed, explain
        self._thread = ThreadPoolExecutor(1, "kafka-transaction")
        self._turn = asyncio.Lock()
        self._transactor: Transactor | None = None
        self._is_open = self._is_spoiled = False

    async def take_over(self) -> None:
        """Connect now, and end what a process before left open under this name: who joins the group waits for that."""
        async with self._turn:
            await self._done(self._connected)

    @asynccontextmanager
    async def transaction(
        self, offsets: Offsets, membership: Callable[[], Awaitable[Any]]
    ) -> AsyncIterator[KafkaTransaction]:
        """A transaction that ends with the block; an exception, and a cancellation, aborts it.

        :param offsets: what the member commits with it
        :param membership: who the member is. Asked for first: a group that takes partitions away meanwhile refuses
            the commit, where one that asks at the end could commit for partitions that it has no more
        """
        async with self._turn:
            try:
                member = await membership() if offsets else None
                transactor = await self._done(self._begin)

                async def send(queue: Queue, messages: Sequence[Message]) -> None:
                    await self._done(_send, transactor, *self._placed(queue, messages))

                yield KafkaTransaction(send)
                await self._done(self._commit, transactor, offsets, member)
            except BaseException:
                await self._done(self._abort)
                raise

    async def _done(self, step: Callable[..., T], *arguments: object) -> T:
        """One step, in the thread; it is never left half done, also when nobody waits any more."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, step, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise
        except KafkaFault as fault:
            self._is_spoiled = True
            raise self._explain(fault) from fault

    def _begin(self) -> Transactor:
        transactor = self._connected()
        self._is_open = True
        transactor.begin()
        return transactor

    def _connected(self) -> Transactor:
        transactor = self._transactor = self._transactor or self._make()
        return transactor

    def _commit(self, transactor: Transactor, offsets: Offsets, membership: Any) -> None:
        transactor.commit(offsets, membership)
        self._is_open = False

    def _abort(self) -> None:
        """Abort what is open. A client that has failed is thrown away; the broker aborts when another one begins.

        kafka-python 3.0.12 goes on with wrong sequence numbers after a batch that the broker refused.
        """
        transactor, was_open, was_spoiled = self._transactor, self._is_open, self._is_spoiled
        if transactor is None:
            return
        self._transactor, self._is_open, self._is_spoiled = None, False, False
        try:
            if was_open:
                transactor.abort()
            if not was_spoiled:
                self._transactor = transactor
                return
        except KafkaFault as fault:
            log.info("a transaction could not be aborted, another client will take over: %s", fault)
        transactor.close()

    async def close(self) -> None:
        """Let go of the connections, after a transaction that is open has ended."""
        async with self._turn:
            transactor, self._transactor = self._transactor, None
            if transactor is not None:
                await self._done(transactor.close)
            self._thread.shutdown(wait=False)


def _send(transactor: Transactor, topic: str, messages: Sequence[Message]) -> None:
    for message in messages:
        transactor.send(topic, message)
