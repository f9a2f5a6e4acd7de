"""What every backend keeps: the log of a topic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from millrace.queues.base import Queue, Statistics
from millrace.queues.message import Message

Topic = Callable[..., Queue]


def numbered(count: int, **fields: object) -> list[Message]:
    return [replace(Message(b"%d" % number), **fields) for number in range(count)]


def values(messages: list[Message]) -> list[bytes]:
    return [message.value for message in messages]


async def read_all(queue: Queue) -> dict[int, list[Message]]:
    """Every message of every partition."""
    found: dict[int, list[Message]] = {partition: [] for partition in range(queue.partitions)}
    for partition, messages in found.items():
        offset = 0
        while batch := await queue.read(partition, offset):
            messages += batch
            offset = batch[-1].offset + 1
    return found


async def test_messages_of_a_partition_are_read_in_the_order_of_appending(topic: Topic) -> None:
    async with topic() as queue:
        for message in numbered(20):
            await queue.append([message])
        assert values((await read_all(queue))[0]) == [b"%d" % number for number in range(20)]


async def test_messages_of_one_call_stay_in_order(topic: Topic) -> None:
    async with topic() as queue:
        appended = await queue.append(numbered(1_000))
        offsets = [message.offset for message in appended]
        assert offsets == sorted(offsets) and len(set(offsets)) == 1_000
        assert values((await read_all(queue))[0]) == values(appended)


async def test_concurrent_appends_all_arrive_once(topic: Topic) -> None:
    async with topic(partitions=2) as queue:
        await asyncio.gather(*(queue.append([message]) for message in numbered(300)))
        found = await read_all(queue)
        assert sorted(values(found[0] + found[1])) == sorted(values(numbered(300)))


async def test_append_answers_where_each_message_is(topic: Topic) -> None:
    async with topic(partitions=3) as queue:
        for message in await queue.append(numbered(30)):
            assert (await queue.read(message.partition, message.offset, 1))[0].value == message.value


async def test_appending_nothing_does_nothing(topic: Topic) -> None:
    async with topic() as queue:
        assert await queue.append([]) == []
        assert await queue.end_offsets() == await queue.begin_offsets()


async def test_messages_of_one_key_go_to_one_partition(topic: Topic) -> None:
    async with topic(partitions=4) as queue:
        appended = await queue.append([Message(b"", b"k%d" % (number % 20)) for number in range(200)])
        places = {(message.key, message.partition) for message in appended}
        assert len(places) == 20
        assert len({partition for _, partition in places}) > 1


async def test_key_goes_to_the_same_partition_from_every_client(topic: Topic) -> None:
    async with topic(partitions=4) as one, topic(partitions=4) as other:
        messages = [Message(b"", b"k%d" % number) for number in range(20)]
        first, second = await one.append(messages), await other.append(messages)
        assert [message.partition for message in first] == [message.partition for message in second]


async def test_messages_without_a_key_use_all_partitions(topic: Topic) -> None:
    async with topic(partitions=3) as queue:
        for message in numbered(60):
            await queue.append([message])
        assert all(messages for messages in (await read_all(queue)).values())


async def test_message_goes_to_the_partition_that_it_names(topic: Topic) -> None:
    async with topic(partitions=3) as queue:
        (appended,) = await queue.append([Message(b"x", b"key", partition=2)])
        assert appended.partition == 2
        assert values(await queue.read(2, appended.offset)) == [b"x"]


async def test_partition_that_does_not_exist_is_refused(topic: Topic) -> None:
    async with topic(partitions=2) as queue:
        with pytest.raises(ValueError, match="partition"):
            await queue.append([Message(b"x", partition=2)])


@pytest.mark.parametrize("value", [b"", b"\0\xff", b"x" * 10_000_000], ids=["empty", "binary", "10 MB"])
async def test_value_comes_back_as_it_was(topic: Topic, value: bytes) -> None:
    async with topic() as queue:
        (appended,) = await queue.append([Message(value)])
        assert (await queue.read(0, appended.offset))[0].value == value


@pytest.mark.parametrize("key", [None, b"", b"k", b"\0\xff" * 100], ids=["none", "empty", "text", "binary"])
async def test_key_comes_back_as_it_was(topic: Topic, key: bytes | None) -> None:
    async with topic() as queue:
        (appended,) = await queue.append([Message(b"v", key)])
        assert (await queue.read(0, appended.offset))[0].key == key


async def test_headers_and_time_come_back_as_they_were(topic: Topic) -> None:
    headers = {"content-type": "application/json", "ü": "naïve ✓", "empty": ""}
    async with topic() as queue:
        (appended,) = await queue.append([Message(b"v", headers=headers, timestamp=1_700_000_000.125)])
        (found,) = await queue.read(0, appended.offset)
        assert (found.headers, found.timestamp) == (headers, 1_700_000_000.125)


async def test_read_begins_at_any_offset_and_ends_at_the_limit(topic: Topic) -> None:
    async with topic() as queue:
        appended = await queue.append(numbered(50))
        assert values(await queue.read(0, appended[10].offset, 5)) == [b"10", b"11", b"12", b"13", b"14"]


async def test_read_at_the_end_answers_nothing_at_once(topic: Topic) -> None:
    async with topic() as queue:
        await queue.append(numbered(3))
        assert await queue.read(0, (await queue.end_offsets())[0]) == []


async def test_begin_and_end_enclose_what_is_there(topic: Topic) -> None:
    async with topic(partitions=2) as queue:
        appended = await queue.append(numbered(7, partition=1))
        begin, end = await queue.begin_offsets(), await queue.end_offsets()
        assert (begin[1], end[1]) == (appended[0].offset, appended[-1].offset + 1)
        assert begin[0] == end[0]


async def test_offset_is_found_by_time(topic: Topic) -> None:
    async with topic() as queue:
        appended = await queue.append([Message(b"", timestamp=1_000.0 + number) for number in range(3_000)])
        assert await queue.offset_at(0, 0.0) == appended[0].offset
        assert await queue.offset_at(0, 3_500.0) == appended[2_500].offset
        assert await queue.offset_at(0, 3_500.5) == appended[2_501].offset
        assert await queue.offset_at(0, 9_999.0) == appended[-1].offset + 1


async def test_topic_is_there_when_it_is_opened_again(topic: Topic) -> None:
    async with topic(partitions=3) as queue:
        await queue.append(numbered(10, partition=2))
    async with topic(partitions=5) as again:
        assert again.partitions == 3
        assert values((await read_all(again))[2]) == values(numbered(10))
        (more,) = await again.append([Message(b"more", partition=2)])
        assert more.offset > (await again.begin_offsets())[2]


async def test_what_one_client_appends_another_reads(topic: Topic) -> None:
    async with topic() as writer, topic() as reader:
        (appended,) = await writer.append([Message(b"x")])
        assert values(await reader.read(0, appended.offset)) == [b"x"]


async def test_statistics_count_and_the_buffer_has_a_bound(topic: Topic) -> None:
    async with topic() as queue:
        appended = await queue.append(numbered(30))
        await queue.read(0, appended[0].offset, 20)
        assert isinstance(queue.statistics, Statistics)
        assert (queue.statistics.appended, queue.statistics.read, queue.statistics.buffered) == (30, 20, 0)
        assert queue.statistics.capacity > 0


async def test_closing_writes_what_is_buffered_and_can_be_repeated(topic: Topic) -> None:
    async with topic() as reader:
        queue = await topic().open()
        writes = [asyncio.create_task(queue.append([message])) for message in numbered(50)]
        await asyncio.sleep(0)
        await queue.close()
        await queue.close()
        await asyncio.gather(*writes)
        assert len((await read_all(reader))[0]) == 50
