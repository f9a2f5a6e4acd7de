"""What the queue does when a client fails: a client made of plain lists stands for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from millrace.errors import MillraceError, Unavailable
from millrace.queues.base import Commit, Consumer, Settings
from millrace.queues.kafka_client import Bounds, Client, Cluster, Confirmed, Member, Offsets, Rebalance, Sender
from millrace.queues.kafka_errors import KafkaFault
from millrace.queues.kafka_queue import KafkaQueue
from millrace.queues.message import Message


class Lists(Client, Cluster, Sender, Member):
    """A client of a topic with one partition. Faults are raised by what is asked for next.

    :ivar faults: by the name of a method, what it raises
    :ivar gate: sent messages are confirmed when it is open
    :ivar answers: commits return when it is open
    """

    def __init__(self) -> None:
        self.faults: dict[str, list[Exception]] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.answers = threading.Event()
        self.answers.set()
        self.joined = 0
        self.log: list[Message] = []
        self.stored: Offsets = {}
        self.rebalance: Rebalance | None = None
        self._next: int | None = None

    def _fail(self, method: str) -> None:
        if self.faults.get(method):
            raise self.faults[method].pop(0)

    def cluster(self) -> Cluster:
        return self

    def sender(self) -> Sender:
        self._fail("sender")
        return self

    def transactor(self, name: str) -> Any:
        raise NotImplementedError

    def member(self, group: str, rebalance: Rebalance) -> Member:
        self.joined += 1
        self.rebalance, self._next = rebalance, None
        return self

    def poll(self, timeout_seconds: float) -> dict[int, list[Message]]:
        self._fail("poll")
        assert self.rebalance is not None
        if self._next is None:
            self._next = self.rebalance.assigned([0]).result().get(0, 0)
        found = self.log[self._next : self._next + 10]
        self._next += len(found)
        if not found:
            threading.Event().wait(timeout_seconds)
        return {0: found} if found else {}

    def size(self, records: Sequence[Any]) -> int:
        return sum(len(record.value) for record in records)

    def messages(self, records: Iterable[Any]) -> list[Message]:
        return list(records)

    def committed(self, partitions: Any) -> Offsets:
        self._fail("committed")
        return self.stored

    def commit(self, offsets: Any, *others: Any) -> None:
        self.answers.wait(10)
        self._fail("commit")
        self.stored = dict(offsets)

    def close(self, *arguments: Any) -> None: ...
    def attend(self) -> None: ...
    def pause(self, partitions: Iterable[int]) -> None: ...
    def resume(self, partitions: Iterable[int]) -> None: ...
    def seek(self, partition: int, offset: int) -> None: ...
    def membership(self) -> Any: ...
    def create(self, *arguments: Any) -> None: ...
    def trim(self, before: Any) -> None: ...

    def partitions(self) -> int:
        return 1

    def topics(self) -> list[str]:
        return ["t"]

    def groups(self) -> list[str]:
        return []

    def members(self, group: str) -> list[str]:
        return []

    def offset_at(self, partition: int, timestamp_ms: int) -> int | None:
        return None

    def bounds(self, partitions: Iterable[int]) -> Bounds:
        return {partition: (0, len(self.log)) for partition in partitions}

    def read(self, partition: int, offset: int, end: int, max_messages: int) -> list[Message]:
        return self.log[offset : offset + max_messages]

    def send(self, message: Message, confirmed: Confirmed) -> None:
        self.gate.wait(10)
        self.log.append(Message(message.value, None, {}, 0, len(self.log)))
        confirmed(None, 0, len(self.log) - 1)


def queue_on(client: Lists, **options: object) -> KafkaQueue:
    return KafkaQueue("kafka://host/t", Settings(options=options), lambda address, settings: client)


async def test_brokers_that_fail_while_partitions_come_are_asked_again() -> None:
    client = Lists()
    client.faults["committed"] = [KafkaFault("unreachable", "not yet")]
    async with queue_on(client) as queue, queue.consumer("g") as consumer, asyncio.timeout(10):
        await queue.append([Message(b"1")])
        while not (messages := await consumer.poll()):
            pass
    assert [message.value for message in messages] == [b"1"]


@pytest.mark.parametrize("fault", [RuntimeError("a fault of the client"), KafkaFault("other", "odd")], ids=repr)
async def test_error_of_the_client_comes_out_of_poll_and_the_next_poll_goes_on(fault: Exception) -> None:
    client = Lists()
    async with queue_on(client) as queue, queue.consumer("g") as consumer, asyncio.timeout(10):
        await queue.append([Message(b"1")])
        client.faults["poll"] = [fault]
        with pytest.raises((RuntimeError, MillraceError), match=r"odd|a fault"):
            while True:
                await consumer.poll()
        while not (messages := await consumer.poll()):
            pass
    assert [message.value for message in messages] == [b"1"]


async def test_brokers_that_never_tell_where_to_begin_cost_the_membership_and_it_is_tried_anew() -> None:
    client = Lists()
    client.faults["committed"] = [KafkaFault("unreachable", "down")] * 2
    async with queue_on(client, drain_timeout_seconds=0.01) as queue, queue.consumer("g") as consumer:
        await queue.append([Message(b"1")])
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable, match="down"):
                while True:
                    await consumer.poll()
            while not (messages := await consumer.poll()):
                pass
    assert (client.joined, messages[0].value) == (2, b"1")


async def test_nothing_is_handed_out_between_a_commit_that_came_too_late_and_the_news_of_that() -> None:
    client = Lists()
    async with queue_on(client) as queue, queue.consumer("g") as consumer, asyncio.timeout(10):
        await queue.append([Message(b"%d" % number) for number in range(8)])
        await polled(consumer, 2)
        client.faults["commit"] = [KafkaFault("moved", "unknown member")]
        await consumer.commit({0: Commit(2)})
        assert await consumer.poll(timeout_seconds=0.05) == []
        assert client.rebalance is not None
        await asyncio.wrap_future(client.rebalance.lost([0]))
        client.member("g", client.rebalance)
        assert [message.offset for message in await polled(consumer, 2)] == [0, 1]


async def test_member_that_was_lost_joins_anew_when_its_commits_are_through() -> None:
    client = Lists()
    async with queue_on(client) as queue, queue.consumer("g") as consumer, asyncio.timeout(10):
        await queue.append([Message(b"%d" % number) for number in range(8)])
        await polled(consumer, 2)
        client.answers.clear()
        commit = asyncio.create_task(consumer.commit({0: Commit(2)}))
        await asyncio.sleep(0)
        assert client.rebalance is not None
        lost = asyncio.wrap_future(client.rebalance.lost([0]))
        assert not (await asyncio.wait([lost], timeout=0.1))[0]
        client.answers.set()
        await lost
        await commit


async def polled(consumer: Consumer, count: int) -> list[Message]:
    while not (messages := await consumer.poll(count)):
        pass
    return messages


async def test_append_that_waits_for_room_is_refused_when_the_queue_closes() -> None:
    client = Lists()
    client.gate.clear()
    queue = await queue_on(client, buffer_messages=1).open()
    first, second = (asyncio.create_task(queue.append([Message(value)])) for value in (b"1", b"2"))
    while queue.statistics.buffered < 1:
        await asyncio.sleep(0)
    closing = asyncio.create_task(queue.close())
    await asyncio.sleep(0)
    client.gate.set()
    await closing
    assert [message.offset for message in await first] == [0]
    with pytest.raises(Unavailable, match="closed before"):
        await second


async def test_bytes_that_wait_for_confirmation_are_bounded() -> None:
    client = Lists()
    async with queue_on(client, buffer_bytes=1_000) as queue:
        client.gate.clear()
        calls = [asyncio.create_task(queue.append([Message(bytes(400))])) for _ in range(5)]
        while queue.statistics.buffered < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert queue.statistics.buffered == 2
        client.gate.set()
        await asyncio.gather(*calls)


async def test_sender_that_can_not_be_made_fails_the_append_and_not_the_next() -> None:
    client = Lists()
    client.faults["sender"] = [RuntimeError("no memory")]
    async with queue_on(client) as queue:
        with pytest.raises(MillraceError, match="no memory"):
            await queue.append([Message(b"1")])
        assert (await queue.append([Message(b"1")]))[0].offset == 0
