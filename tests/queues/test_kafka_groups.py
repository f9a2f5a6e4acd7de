"""Consumer groups on Kafka, beyond the contract: slow handlers, rebalances under load, members on both clients."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import pytest
from kafka_broker import CLIENTS, new_group, new_topic, real
from kafka_broker import options as cluster_options

from millrace.errors import Conflict
from millrace.queues.address import open_queue
from millrace.queues.base import Commit, Consumer, Queue, Settings
from millrace.queues.message import Message

both_clients = pytest.mark.parametrize("client", CLIENTS)
PATIENCE_SECONDS = 30


def settings(client: str, partitions: int = 4, **options: object) -> Settings:
    return Settings(partitions=partitions, options={**cluster_options(client), **options})


async def take(consumer: Consumer, count: int) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found) < count:
            found += await consumer.poll(timeout_seconds=0.2)
    return found


class Worker:
    """Handles messages one by one, and commits what it has done every 50 and when partitions go."""

    def __init__(self, queue: Queue, group: str, seen: Counter[bytes]) -> None:
        self.consumer = queue.consumer(group, on_revoked=self.revoked)
        self.seen, self.done = seen, dict[int, Commit]()
        self.moved = 0
        self.stopping = asyncio.Event()
        self.task = asyncio.create_task(self.work())

    async def work(self) -> None:
        while not self.stopping.is_set():
            for message in await self.consumer.poll(50, 0.1):
                if message.partition in self.consumer.assigned:
                    self.seen[message.value] += 1
                    self.done[message.partition] = Commit(message.offset + 1)
            await self.consumer.commit(self.done)

    async def revoked(self, partitions: Iterable[int]) -> None:
        self.moved += 1
        await self.consumer.commit({p: commit for p, commit in self.done.items() if p in set(partitions)})

    async def stop(self) -> None:
        self.stopping.set()
        await self.task
        await self.consumer.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("clients", [(one, two) for one in CLIENTS for two in CLIENTS])
async def test_members_that_join_and_leave_under_load_lose_and_repeat_nothing(clients: tuple[str, str]) -> None:
    real()
    url, group, seen, total = new_topic(), new_group(), Counter[bytes](), 6_000
    first, second = (settings(client) for client in clients)
    async with await open_queue(url, first) as queue, await open_queue(url, second) as other:
        one = Worker(queue, group, seen)
        writing = asyncio.create_task(write(queue, total))
        await until(lambda: len(seen) > 500)
        two = Worker(other, group, seen)
        await until(lambda: two.consumer.assigned and one.consumer.assigned)
        await writing
        await one.stop()
        await until(lambda: len(seen) == total)
        await two.stop()
    assert (len(seen), sum(seen.values())) == (total, total)


@both_clients
async def test_messages_in_hand_are_committed_before_their_partition_goes(client: str) -> None:
    real()
    url, group = new_topic(), new_group()
    async with await open_queue(url, settings(client)) as queue, await open_queue(url, settings(client)) as second:
        await queue.append([Message(b"", b"%d" % number) for number in range(100)])
        one, other = queue.consumer(group), second.consumer(group)
        done = {message.partition: Commit(message.offset + 1) for message in await take(one, 100)}
        joining = asyncio.create_task(take(other, 1))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):  # the heartbeats that tell of the rebalance come five times a second
                await until(lambda: len(one.assigned) < 4)
        await one.commit(done)
        assert not any((await queue.lag(group)).values())
        while not other.assigned:
            assert await one.poll(timeout_seconds=0.1) == []
        joining.cancel()


async def write(queue: Queue, total: int) -> None:
    for first in range(0, total, 100):
        await queue.append([Message(b"%d" % n, b"key-%d" % (n % 50)) for n in range(first, first + 100)])
        await asyncio.sleep(0.01)


@both_clients
async def test_restart_is_told_what_was_done_beyond_the_watermark(client: str) -> None:
    url, group, told = new_topic(), new_group(), dict[int, Commit]()

    async def assigned(commits: Mapping[int, Commit]) -> None:
        told.update(commits)

    async with await open_queue(url, settings(client, partitions=1)) as queue:
        await queue.append([Message(b"%d" % number) for number in range(10)])
        async with queue.consumer(group) as consumer:
            await take(consumer, 10)
            await consumer.commit({0: Commit(4, frozenset({6, 7, 9}))})
        async with queue.consumer(group, on_assigned=assigned) as again:
            assert [message.offset for message in await take(again, 6)] == [4, 5, 6, 7, 8, 9]
    assert told == {0: Commit(4, frozenset({6, 7, 9}))}


@both_clients
async def test_handler_slower_than_every_timeout_keeps_its_partitions(client: str) -> None:
    quick = {"session_timeout_ms": 1_000, "max_poll_interval_ms": 1_500, "buffer_messages": 10}
    url, group, seen = new_topic(), new_group(), Counter[bytes]()
    real()
    async with await open_queue(url, settings(client, partitions=1, **quick)) as queue:
        worker = Worker(queue, group, seen)
        await queue.append([Message(b"%d" % number) for number in range(500)])
        await until(lambda: seen)
        worker.stopping.set()
        await worker.task
        await asyncio.sleep(4.0)  # nobody polls, for longer than both times
        messages = await worker.consumer.poll()
        await worker.consumer.commit({0: Commit(messages[-1].offset + 1)})
        assert (await queue.committed(group))[0].watermark == messages[-1].offset + 1
        assert worker.moved == 0


@both_clients
async def test_handler_that_does_not_finish_holds_a_rebalance_up_for_a_bounded_time(client: str) -> None:
    real()
    url, group, forever = new_topic(), new_group(), asyncio.Event()

    async def revoked(partitions: Iterable[int]) -> None:
        await forever.wait()

    async with await open_queue(url, settings(client, partitions=2, drain_timeout_seconds=0.5)) as queue:
        slow, other = queue.consumer(group, on_revoked=revoked), queue.consumer(group)
        await until_has(slow, 2)
        started = time.monotonic()
        await until_has(other, 1)
        assert time.monotonic() - started < 10
        await other.close()


async def until_has(consumer: Consumer, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(consumer.assigned) != count:
            await consumer.poll(timeout_seconds=0.05)


@both_clients
async def test_commit_from_outside_is_refused_while_the_group_has_members(client: str) -> None:
    real()
    group = new_group()
    async with await open_queue(new_topic(), settings(client)) as queue, queue.consumer(group) as consumer:
        await until_has(consumer, 4)
        with pytest.raises(Conflict, match="has members"):
            await queue.commit(group, {0: Commit(0)})


@both_clients
async def test_what_the_callbacks_raise_comes_out_of_poll(client: str) -> None:
    async def assigned(commits: Mapping[int, Commit]) -> None:
        raise KeyError("mine")

    async with await open_queue(new_topic(), settings(client)) as queue:
        with pytest.raises(KeyError, match="mine"):
            await until_has(queue.consumer(new_group(), on_assigned=assigned), 99)


@both_clients
async def test_full_buffer_reads_no_further_ahead(client: str) -> None:
    async with await open_queue(new_topic(), settings(client, partitions=1, buffer_messages=100)) as queue:
        await queue.append([Message(b"%d" % number) for number in range(5_000)])
        async with queue.consumer(new_group()) as consumer:
            values = [message.value for message in await take(consumer, 5_000)]
    assert values == [b"%d" % number for number in range(5_000)]


@both_clients
async def test_commit_does_not_wait_for_room_in_a_full_buffer(client: str) -> None:
    async with await open_queue(new_topic(), settings(client, partitions=1, buffer_messages=100)) as queue:
        await queue.append([Message(b"%d" % number) for number in range(2_000)])
        async with queue.consumer(new_group()) as consumer:
            await take(consumer, 100)
            await asyncio.sleep(0.1)  # the buffer is full again
            started = time.monotonic()
            for offset in range(10, 60, 10):
                await consumer.commit({0: Commit(offset)})
            assert time.monotonic() - started < 2  # it was 1 s each


@both_clients
async def test_members_of_a_group_are_told(client: str) -> None:
    real()
    group = new_group()
    async with await open_queue(new_topic(), settings(client)) as queue:
        assert await queue.members(group) == []
        async with queue.consumer(group) as consumer:
            await until_has(consumer, 4)
            assert len(await queue.members(group) or []) == 1
        assert await queue.members(group) == []
