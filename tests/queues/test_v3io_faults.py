"""A v3io platform that fails: nothing is lost, and nothing comes twice but where the protocol has no means."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections import Counter

import pytest
from v3io_emulator import Emulator

from millrace.errors import QueueFull, Unavailable
from millrace.queues.address import queue_at
from millrace.queues.base import Commit, Consumer, Queue, Settings
from millrace.queues.message import Message

PATH = "/projects/topic"
QUICK = {"poll_seconds": 0.005, "idle_poll_seconds": 0.02, "heartbeat_seconds": 0.05}
SOON = {"connect_timeout_seconds": 0.2}
FUNCTIONS = ("PutRecords", "GetRecords", "SeekShard", "GetItem", "PutItem", "DescribeStream", "CreateStream")


def stream(platform: Emulator, partitions: int = 1, **options: object) -> Queue:
    settings = {"access_key": "secret", **QUICK, **options}
    return queue_at(f"v3io+http://{platform.host}{PATH}", Settings(partitions=partitions, options=settings))


def numbered(count: int) -> list[Message]:
    return [Message(b"%d" % number) for number in range(count)]


async def take(consumer: Consumer, count: int) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await consumer.poll(count - len(found))
    return found


@pytest.mark.parametrize(
    "fault",
    [{"status": 503}, {"status": 500}, {"status": 429}, {"drop": "before"}, {"drop": "after"}],
    ids=["503", "500", "429", "lost before", "lost after"],
)
async def test_append_that_fails_twice_is_written_once_and_in_order(fault: dict[str, object]) -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            platform.fault("PutRecords", times=2, **fault)
            appended = await queue.append(numbered(20))
        assert platform.values(PATH, 0) == [b"%d" % number for number in range(20)]
        assert [message.offset for message in appended] == list(range(1, 21))


async def test_write_whose_answer_was_lost_is_found_among_those_of_others() -> None:
    with Emulator() as platform:
        async with stream(platform) as one, stream(platform) as other:
            await one.append([Message(b"same", timestamp=1.0)])
            platform.fault("PutRecords", drop="after")
            lost = asyncio.create_task(one.append([Message(b"same", timestamp=1.0)]))
            await asyncio.gather(lost, *(other.append([Message(b"same", timestamp=1.0)]) for _ in range(5)))
        assert platform.values(PATH, 0) == [b"same"] * 7


async def test_only_the_failed_records_are_sent_again_in_their_order() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            platform.fault("PutRecords", fail=lambda index: index % 3 == 0)
            appended = await queue.append(numbered(9))
            for message in appended:
                assert (await queue.read(0, message.offset, 1))[0].value == message.value
        assert platform.values(PATH, 0) == [b"1", b"2", b"4", b"5", b"7", b"8", b"0", b"3", b"6"]


async def test_append_returns_only_when_the_last_failed_record_is_written() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            gate = threading.Event()
            platform.fault("PutRecords", fail=lambda index: index == 0)
            platform.fault("PutRecords", hold=gate)
            appending = asyncio.create_task(queue.append(numbered(3)))
            while platform.counts["PutRecords"] < 2:
                await asyncio.sleep(0.001)
            assert not appending.done() and len(platform.values(PATH, 0)) == 2
            gate.set()
            await appending
        assert sorted(platform.values(PATH, 0)) == [b"0", b"1", b"2"]


async def test_later_appends_wait_for_those_that_are_tried_again() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            platform.fault("PutRecords", times=3, status=503)
            await asyncio.gather(*(queue.append([message]) for message in numbered(30)))
        assert platform.values(PATH, 0) == [b"%d" % number for number in range(30)]


async def test_platform_that_stays_away_is_an_error_that_says_what_may_have_been_written() -> None:
    with Emulator() as platform:
        async with stream(platform, retry_timeout_seconds=0.1) as queue:
            platform.fault("PutRecords", times=100, status=503)
            with pytest.raises(Unavailable, match=r"may have been written or not after 0\.1 s"):
                await queue.append(numbered(2))
            assert queue.statistics.buffered == 0


async def test_platform_that_is_away_is_said_soon_when_the_queue_is_opened() -> None:
    queue = queue_at("v3io+http://127.0.0.1:1/projects/topic", Settings(options={"access_key": "k", **SOON}))
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:1.*gave up after 0\.2 s.*connect_timeout_seconds"):
        await queue.open()
    assert time.monotonic() - started < 5


async def test_platform_that_takes_no_connection_is_said_soon() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as taken:
        for _ in range(3):  # Linux takes one more than the backlog, and leaves the others without an answer
            taken.enter_context(waiting(server.getsockname()))
        url = "v3io+http://{}:{}/projects/topic".format(*server.getsockname())
        with pytest.raises(Unavailable, match="gave up after"):
            await queue_at(url, Settings(options={"access_key": "k", **SOON})).open()


def waiting(address: tuple[str, int]) -> socket.socket:
    """A socket that connects."""
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(address)
    return one


async def test_records_that_keep_failing_are_an_error_and_the_others_are_written() -> None:
    with Emulator() as platform:
        async with stream(platform, retry_timeout_seconds=0.1) as queue:
            platform.fault("PutRecords", times=1, fail=lambda index: index == 1)
            platform.fault("PutRecords", times=100, fail=lambda index: True)
            with pytest.raises(Unavailable, match="1 messages for shard 0 were not written"):
                await queue.append(numbered(3))
        assert platform.values(PATH, 0) == [b"0", b"2"]


async def test_full_storage_is_said_at_once_and_nothing_is_appended() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            platform.fault("PutRecords", times=100, status=507)
            with pytest.raises(QueueFull, match="full"):
                await queue.append(numbered(3))
        assert platform.values(PATH, 0) == []
        assert platform.counts["PutRecords"] == 1


async def test_slow_request_ends_at_its_time_and_is_not_written_twice() -> None:
    with Emulator() as platform:
        gate = threading.Event()
        async with stream(platform, request_timeout_seconds=0.2) as queue:
            platform.fault("PutRecords", hold=gate)
            appended = await queue.append(numbered(3))
            assert [message.offset for message in appended] == [1, 2, 3]
            gate.set()


@pytest.mark.parametrize("function", ["GetRecords", "SeekShard", "GetItem"])
@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": "before"}], ids=["503", "lost"])
async def test_consumer_goes_on_when_reading_fails(function: str, fault: dict[str, object]) -> None:
    with Emulator() as platform:
        async with stream(platform) as queue, queue.consumer("g") as consumer:
            await queue.append(numbered(10))
            platform.fault(function, times=3, **fault)
            assert [message.value for message in await take(consumer, 10)] == [b"%d" % n for n in range(10)]


async def test_group_bears_lost_answers_to_its_own_writes() -> None:
    with Emulator() as platform:
        async with stream(platform, 2) as queue:
            platform.fault("PutItem", times=4, drop="after")
            async with queue.consumer("g") as consumer:
                await queue.append(numbered(10))
                await take(consumer, 10)
                platform.fault("PutItem", times=2, drop="after")
                await consumer.commit({0: Commit(6), 1: Commit(6)})
            assert await queue.committed("g") == {0: Commit(6), 1: Commit(6)}


async def _append_one_by_one(queue: Queue, messages: list[Message]) -> None:
    for message in messages:
        await queue.append([message])


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_or_repeated_when_a_fifth_of_the_requests_is_lost(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.queues.v3io_retry.LONGEST_SECONDS", 0.1)
    chance = random.Random(seed)
    with Emulator() as platform:
        for function in FUNCTIONS:
            for _ in range(200):
                platform.fault(function, times=chance.randrange(9))
                platform.fault(function, drop=chance.choice(["before", "after"]))
        async with stream(platform, 3) as queue, queue.consumer("g") as consumer:
            messages = numbered(300)
            writers = [asyncio.create_task(_append_one_by_one(queue, messages[n::6])) for n in range(6)]
            seen = Counter(message.value for message in await take(consumer, 300))
            await asyncio.gather(*writers)
        assert sum(len(platform.values(PATH, shard)) for shard in range(3)) == 300
        assert seen == Counter(message.value for message in messages)
