"""Kafka in, Kafka out, exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from kafka_broker import CLIENTS, new_group, new_topic, real
from kafka_broker import options as cluster_options

from millrace.errors import Conflict, MillraceError
from millrace.queues.address import open_queue
from millrace.queues.base import Commit, Consumer, Queue, Settings
from millrace.queues.kafka_queue import KafkaQueue
from millrace.queues.message import Message

both_clients = pytest.mark.parametrize("client", CLIENTS)


@asynccontextmanager
async def kafka_queue(client: str, url: str | None = None, **options: object) -> AsyncIterator[KafkaQueue]:
    real()
    settings = Settings(partitions=1, options={**cluster_options(client), **options})
    async with await open_queue(url or new_topic(), settings) as queue:
        assert isinstance(queue, KafkaQueue)
        yield queue


async def values(queue: Queue) -> list[bytes]:
    """All that can be read."""
    found: list[Message] = []
    while batch := await queue.read(0, found[-1].offset + 1 if found else 0):
        found += batch
    return [message.value for message in found]


async def polled(consumer: Consumer, count: int) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await consumer.poll(count - len(found))
    return found


async def values_when_written(queue: Queue, count: int) -> list[bytes]:
    """The same, when so many can be: the brokers mark the end of a transaction after it was confirmed."""
    async with asyncio.timeout(20):
        while len(found := await values(queue)) < count:
            await asyncio.sleep(0.01)
    return found


@both_clients
async def test_messages_and_commit_count_together(client: str) -> None:
    async with kafka_queue(client) as source, kafka_queue(client) as target, source.consumer(new_group()) as consumer:
        await source.append([Message(b"%d" % number) for number in range(3)])
        await polled(consumer, 3)
        async with source.transaction(consumer, {0: Commit(2)}) as transaction:
            await transaction.append(target, [Message(b"a"), Message(b"b", b"key", {"h": "1"})])
            assert await values(target) == []
        assert await values_when_written(target, 2) == [b"a", b"b"]
        assert await committed(source) == {0: Commit(2)}


async def committed(source: KafkaQueue) -> dict[int, Commit]:
    (group,) = await source.groups()
    return await source.committed(group)


@both_clients
async def test_exception_in_a_transaction_undoes_all_of_it_and_the_next_one_works(client: str) -> None:
    async with kafka_queue(client) as source, kafka_queue(client) as target, source.consumer(new_group()) as consumer:
        await source.append([Message(b"0")])
        await polled(consumer, 1)
        with pytest.raises(KeyError):
            async with source.transaction(consumer, {0: Commit(1)}) as transaction:
                await transaction.append(target, [Message(b"half")])
                raise KeyError("mine")
        assert (await values(target), await source.groups()) == ([], [])
        async with source.transaction(consumer, {0: Commit(1)}) as transaction:
            await transaction.append(target, [Message(b"whole")])
        assert await values_when_written(target, 1) == [b"whole"]
        assert await committed(source) == {0: Commit(1)}


@both_clients
async def test_done_beyond_the_watermark_travels_with_a_transaction(client: str) -> None:
    async with kafka_queue(client) as source, source.consumer(new_group()) as consumer:
        await source.append([Message(b"%d" % number) for number in range(5)])
        await polled(consumer, 5)
        async with source.transaction(consumer, {0: Commit(1, frozenset({3, 4}))}):
            pass
        assert await committed(source) == {0: Commit(1, frozenset({3, 4}))}


@both_clients
async def test_transactions_that_begin_together_run_one_after_the_other(client: str) -> None:
    async with kafka_queue(client) as source, kafka_queue(client) as target, source.consumer(new_group()) as consumer:
        await source.append([Message(b"%d" % number) for number in range(4)])

        async def handle(message: Message) -> None:
            async with source.transaction(consumer, {0: Commit(message.offset + 1)}) as transaction:
                await transaction.append(target, [message])
                await asyncio.sleep(0)
                await transaction.append(target, [message])

        await asyncio.gather(*[handle(Message(m.value, offset=m.offset)) for m in await polled(consumer, 4)])
        assert await values_when_written(target, 8) == [b"0", b"0", b"1", b"1", b"2", b"2", b"3", b"3"]


@both_clients
async def test_second_process_with_the_same_name_ends_the_transactions_of_the_first(client: str) -> None:
    url, group = new_topic(), new_group()
    mine = {"transactional_id": group}
    async with kafka_queue(client, url, **mine) as one, kafka_queue(client, url, **mine) as other:
        await one.append([Message(b"0")])
        async with one.consumer(group) as consumer:
            await polled(consumer, 1)
            with pytest.raises(Conflict, match="transactional_id"):
                async with one.transaction(consumer, {0: Commit(1)}) as transaction:
                    await transaction.append(one, [Message(b"late")])
                    async with other.transaction(other.consumer(group), {}):
                        pass
        assert (await values(one), await one.committed(group)) == ([b"0"], {})


@both_clients
async def test_member_that_lost_its_partition_can_not_commit_in_a_transaction(client: str) -> None:
    url, group = new_topic(), new_group()
    async with kafka_queue(client, url) as source, kafka_queue(client, url) as other:
        await source.append([Message(b"0")])
        one = source.consumer(group)
        await polled(one, 1)
        with pytest.raises(MillraceError):
            async with source.transaction(one, {0: Commit(1)}) as transaction:
                await transaction.append(source, [Message(b"late")])
                await one.close()
                async with other.consumer(group) as two:
                    await polled(two, 1)
        assert await values(source) == [b"0"]


@both_clients
async def test_transaction_takes_no_partition_of_others_and_no_other_kind_of_queue(client: str) -> None:
    async with kafka_queue(client) as source, source.consumer(new_group()) as consumer:
        with pytest.raises(ValueError, match="not this consumer's"):
            async with source.transaction(consumer, {0: Commit(1)}):
                pass
        async with await open_queue("memory://elsewhere") as elsewhere:
            with pytest.raises(ValueError, match="stays in one cluster"):
                async with source.transaction(consumer, {}) as transaction:
                    await transaction.append(elsewhere, [Message(b"")])


@both_clients
async def test_marks_of_transactions_at_the_end_are_no_lag(client: str) -> None:
    async with kafka_queue(client) as source, kafka_queue(client) as target:
        for number in range(2):
            async with source.transaction(source.consumer("unused"), {}) as transaction:
                await transaction.append(target, [Message(b"%d" % number)])
        await values_when_written(target, 2)
        group = new_group()
        await target.commit(group, {0: Commit(0)})
        assert (await target.lag(group))[0] >= 2
        await target.commit(group, {0: Commit(3)})  # behind a message, a mark and a message: a mark is left
        assert ((await target.end_offsets())[0], await target.lag(group)) == (4, {0: 0})
