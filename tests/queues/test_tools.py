"""What is done to a topic from outside, on every backend."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from v3io_emulator import Emulator

from millrace.errors import BadRequest, Conflict, UpstreamError
from millrace.queues import tail, tools
from millrace.queues.address import list_topics, open_queue
from millrace.queues.base import Commit, NotOffered, Queue, Settings, TopicNotFound
from millrace.queues.memory_topic import MemoryTopic, forget
from millrace.queues.message import Message
from millrace.queues.places import Place, chosen, offsets_at

Topic = Callable[..., Queue]
WAIT_SECONDS = 20


def numbered(count: int, **fields: int) -> list[Message]:
    return [Message(b"%d" % number, b"k%d" % (number % 5), **fields) for number in range(count)]


def new_group() -> str:  # on Kafka a group spans topics
    return f"group-{uuid.uuid4().hex[:12]}"


class OneTopic:
    """A topic in memory with one partition."""

    async def __aenter__(self) -> Queue:
        self.url = f"memory://{uuid.uuid4()}"
        return await MemoryTopic(self.url).open()

    async def __aexit__(self, *_: object) -> None:
        forget(self.url)


async def test_description_counts_messages_and_lag(topic: Topic) -> None:
    group = new_group()
    async with topic() as queue:
        appended = await queue.append(numbered(10))
        await queue.commit(group, {0: Commit(appended[4].offset)})
        state = await tools.describe(queue)
        assert [one.end - one.begin for one in state.partitions] == [10]
        assert [(one.group, one.lag) for one in state.groups or ()] == [(group, {0: 6})]


async def test_description_tells_live_members(topic: Topic) -> None:
    group = new_group()
    async with topic() as queue, queue.consumer(group) as consumer:
        await queue.append(numbered(1))
        async with asyncio.timeout(WAIT_SECONDS):
            while not await consumer.poll():
                continue
        assert await queue.members(group) is None or len(await queue.members(group) or ()) == 1


async def test_place_of_a_group_is_set_and_the_old_one_told(topic: Topic) -> None:
    group = new_group()
    async with topic() as queue:
        first = (await queue.append(numbered(10)))[0].offset
        await queue.commit(group, {0: Commit(first + 8)})
        assert await tools.set_place(queue, group, {0: first + 3}) == {0: Commit(first + 8)}
        assert await queue.lag(group) == {0: 7}


async def test_place_of_a_group_with_members_is_not_set(topic: Topic) -> None:
    group = new_group()
    async with topic() as queue, queue.consumer(group) as consumer:
        await queue.append(numbered(1))
        async with asyncio.timeout(WAIT_SECONDS):
            while not await consumer.poll():
                continue
        with pytest.raises(Conflict, match="members"):
            await tools.set_place(queue, group, {0: 0})


async def test_places_become_offsets(topic: Topic) -> None:
    async with topic() as queue:
        old = await queue.append([Message(b"old", timestamp=time.time() - 5)])
        between = time.time() - 2
        new = await queue.append([Message(b"new")])
        found = [
            (await offsets_at(queue, place, [0]))[0]
            for place in (Place("earliest"), Place("time", between), Place("latest"), Place("offset", 10_000))
        ]
        assert found == [old[0].offset, new[0].offset, new[0].offset + 1, new[0].offset + 1]


async def test_an_offset_needs_a_single_partition(topic: Topic) -> None:
    async with topic(partitions=2) as queue:
        with pytest.raises(BadRequest, match="--partition"):
            await offsets_at(queue, Place("offset", 3), chosen(queue, None))
        with pytest.raises(BadRequest, match="0 to 1, not 2"):
            chosen(queue, 2)


async def test_copy_keeps_keys_headers_and_the_order_within_a_key(topic: Topic) -> None:
    async with topic(partitions=2) as queue, OneTopic() as target:
        await queue.append([Message(b"%d" % number, b"k%d" % (number % 3), {"h": "x"}) for number in range(30)])
        told: list[int] = []
        ends = await queue.end_offsets()
        assert await tools.copy(queue, target, await queue.begin_offsets(), ends, progress=told.append) == 30
        copied = await target.read(0, 0)
        assert {message.key for message in copied} == {b"k0", b"k1", b"k2"} and copied[0].headers == {"h": "x"}
        values = [int(message.value) for message in copied if message.key == b"k1"]
        assert values == list(range(1, 30, 3)) and told[-1] == 30


async def test_copies_go_where_their_keys_say(topic: Topic, tmp_path: Path) -> None:
    keys = [b"k%d" % number for number in range(8)]
    async with topic() as queue, await open_queue(f"log://{tmp_path}/other", Settings(partitions=3)) as target:
        expected = {message.key: message.partition for message in await target.append([Message(b"", k) for k in keys])}
        await queue.append([Message(b"", key) for key in keys])
        before = await target.end_offsets()
        await tools.copy(queue, target, await queue.begin_offsets(), await queue.end_offsets())
        copied = [message for number, end in before.items() for message in await target.read(number, end)]
        assert {message.key: message.partition for message in copied} == expected


async def test_messages_get_the_present_time_when_they_are_copied(topic: Topic) -> None:
    async with topic() as queue, OneTopic() as target:
        await queue.append([Message(b"x", timestamp=1_000.0)])
        await tools.copy(queue, target, await queue.begin_offsets(), await queue.end_offsets())
        assert (await target.read(0, 0))[0].timestamp > time.time() - 60


async def test_trim_deletes_what_lies_before_or_says_that_it_can_not(topic: Topic) -> None:
    async with topic() as queue:
        first = (await queue.append(numbered(10)))[0].offset
        try:
            assert await queue.trim({0: first + 7}) == 7
        except NotOffered:
            pytest.skip("this backend deletes by retention only, and says so")
        assert await queue.begin_offsets() == {0: first + 7}


async def test_last_messages_are_the_newest_of_all_partitions(topic: Topic) -> None:
    async with topic(partitions=2) as queue:
        began = time.time()
        for number in range(10):
            await queue.append([Message(b"%d" % number, partition=number % 2, timestamp=began + number / 100)])
        found, offsets = await tail.last_messages(queue, 3, [0, 1])
        assert [message.value for message in found] == [b"7", b"8", b"9"]
        assert offsets == await queue.end_offsets()


async def test_followed_messages_come_when_they_are_appended(topic: Topic) -> None:
    async with topic() as queue, topic() as other, asyncio.timeout(WAIT_SECONDS):
        await other.append([Message(b"before")])
        messages = tail.follow(queue, await queue.end_offsets())
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        await other.append([Message(b"after")])
        assert (await waiting).value == b"after"


async def test_reading_until_the_end_ends(topic: Topic) -> None:
    async with topic(partitions=2) as queue:
        await queue.append(numbered(20))
        found = [message.value async for message in tail.until(queue, await queue.begin_offsets())]
        assert sorted(found) == sorted(b"%d" % number for number in range(20))


async def test_topic_that_must_exist_is_not_made(topic: Topic) -> None:
    queue = topic(must_exist=True)
    with pytest.raises(TopicNotFound, match=r"millrace queue list|in memory are known to the process"):
        await queue.open()
    await queue.close()


async def test_queue_that_can_not_be_opened_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    async def close(self: MemoryTopic) -> None:
        closed.append(self.url)

    monkeypatch.setattr(MemoryTopic, "close", close)
    with pytest.raises(TopicNotFound):
        await open_queue("memory://nothing", Settings(must_exist=True))
    assert closed == ["memory://nothing"]


async def test_topics_of_a_directory_are_listed(tmp_path: Path) -> None:
    (tmp_path / "no topic").mkdir()
    (tmp_path / "another database").mkdir()
    (tmp_path / "another database" / "data.mdb").touch()
    addresses = [f"log://{tmp_path}/a%20topic", f"log://{tmp_path}/orders"]
    for address in addresses:
        async with await open_queue(address) as queue:
            await queue.commit("g", {0: Commit(0)})  # makes the folder of the groups, which is no topic
    assert await list_topics(f"log://{tmp_path}") == addresses
    assert await list_topics(addresses[1]) == addresses[1:]


async def test_streams_of_a_container_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V3IO_ACCESS_KEY", "secret")
    with Emulator() as platform:
        container = f"v3io+http://{platform.host}/projects"
        for path in ("in/orders", "in/a%20topic", "top"):
            async with await open_queue(f"{container}/{path}"):
                pass
        assert await list_topics(container) == [f"{container}/top"]
        assert await list_topics(f"{container}/in") == [f"{container}/in/a%20topic", f"{container}/in/orders"]
        assert await list_topics(f"{container}/in/orders") == [f"{container}/in/orders"]


@pytest.mark.parametrize("client", ["kafka-python", "confluent-kafka"])
async def test_topics_of_a_cluster_are_listed(client: str) -> None:
    from kafka_broker import new_topic, options

    address, settings = new_topic(), Settings(partitions=1, options=options(client))
    async with await open_queue(address, settings):
        assert address in await list_topics(address.rpartition("/")[0], settings)
        assert await list_topics(address, settings) == [address]
    assert await list_topics(f"{address}-other", settings) == []


async def test_folder_that_is_refused_as_a_stream_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V3IO_ACCESS_KEY", "secret")
    with Emulator() as platform:
        container = f"v3io+http://{platform.host}/projects"
        async with await open_queue(f"{container}/top"):
            platform.fault("DescribeStream", status=400)
            assert await list_topics(container) == []
            platform.fault("DescribeStream", status=403)
            with pytest.raises(UpstreamError, match="access key"):
                await list_topics(container)


async def test_last_messages_are_found_where_numbers_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V3IO_ACCESS_KEY", "secret")
    with Emulator(gap=9) as platform:
        address = f"v3io+http://{platform.host}/projects/orders"
        async with await open_queue(address, Settings(partitions=1)) as queue:
            await queue.append(numbered(6))
            found, _ = await tail.last_messages(queue, 4, [0])
            assert [message.value for message in found] == [b"2", b"3", b"4", b"5"]


async def test_groups_of_a_stream_have_their_names_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V3IO_ACCESS_KEY", "secret")
    names = ["a b", "a~20b", "orders", "x-millrace-3"]
    with Emulator() as platform:
        async with await open_queue(f"v3io+http://{platform.host}/projects/orders") as queue:
            for name in names:
                await queue.commit(name, {0: Commit(1)})
            assert await queue.groups() == names
