"""The embedded log: options, retention, sharing and waking."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from millrace.errors import Conflict, GraphError, SpecError, Unavailable
from millrace.queues.address import open_queue
from millrace.queues.base import Commit, Settings, TopicGone
from millrace.queues.log import LogQueue
from millrace.queues.message import Message


def queue_in(folder: Path, partitions: int = 1, **settings: object) -> LogQueue:
    fields = {name: settings.pop(name) for name in ("retention_seconds", "retention_bytes") if name in settings}
    return LogQueue(f"log://{folder}/topic", Settings(partitions=partitions, options=settings, **fields))


async def offsets(queue: LogQueue, partition: int = 0) -> list[int]:
    return [message.offset for message in await queue.read(partition, 0, 100_000)]


async def until_trimmed(queue: LogQueue, begin: int) -> None:
    async with asyncio.timeout(20):
        while (await queue.begin_offsets())[0] < begin:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("url", ["log://host/topic", "log:///topic", "log:topic", "memory:///a/b"])
def test_address_without_directory_and_topic_is_refused(url: str) -> None:
    with pytest.raises(GraphError, match="log:///absolute/directory/topic"):
        LogQueue(url)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"durabilty": "fsync"}, "did you mean 'durability'"),
        ({"durability": "sometimes"}, "fsync, metasync, none"),
        ({"map_bytes": 0}, "map_bytes is a whole number above 0"),
        ({"map_bytes": 1e9}, "map_bytes is a whole number"),
        ({"lease_timeout_seconds": "10"}, "lease_timeout_seconds is a number"),
    ],
)
def test_wrong_option_is_refused_before_anything_is_made(tmp_path: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(GraphError, match=words):
        queue_in(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


async def test_queue_that_is_not_open_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"await queue.open\(\)"):
        await queue_in(tmp_path).append([Message(b"x")])


async def test_two_queues_of_a_process_must_have_the_same_options(tmp_path: Path) -> None:
    async with queue_in(tmp_path):
        with pytest.raises(Conflict, match="open both with the same options"):
            await queue_in(tmp_path, durability="none").open()


async def test_topic_has_four_partitions_when_nobody_says(tmp_path: Path) -> None:
    async with LogQueue(f"log://{tmp_path}/topic") as queue:
        assert queue.partitions == 4


async def test_messages_older_than_the_retention_go(tmp_path: Path) -> None:
    async with queue_in(tmp_path, retention_seconds=3_600, retention_every_seconds=0.01) as queue:
        now = time.time()
        await queue.append([Message(b"", timestamp=now - 7_200 + number) for number in range(2_500)])
        await queue.append([Message(b"", timestamp=now)] * 3)
        await until_trimmed(queue, 2_500)
        assert await offsets(queue) == [2_500, 2_501, 2_502]
        assert await queue.end_offsets() == {0: 2_503}
        assert await queue.offset_at(0, 0.0) == 2_500


async def test_oldest_messages_go_when_there_are_more_bytes_than_stay(tmp_path: Path) -> None:
    async with queue_in(tmp_path, retention_bytes=10_000, retention_every_seconds=0.01) as queue:
        await queue.append([Message(bytes(984))] * 50)  # 1,000 bytes with what is kept about a message
        await until_trimmed(queue, 40)
        assert await offsets(queue) == list(range(40, 50))


async def test_topic_that_retention_emptied_goes_on_counting(tmp_path: Path) -> None:
    async with queue_in(tmp_path, retention_seconds=10, retention_every_seconds=0.01) as queue:
        await queue.append([Message(b"", timestamp=1.0)] * 5)
        await until_trimmed(queue, 5)
        assert await queue.begin_offsets() == await queue.end_offsets() == {0: 5}
    async with queue_in(tmp_path) as again:
        assert (await again.append([Message(b"")]))[0].offset == 5


async def test_consumer_that_retention_overtook_says_what_it_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with queue_in(tmp_path) as queue:
        await queue.append([Message(b"%d" % number) for number in range(10)])
        await queue.commit("g", {0: Commit(2)})
        await queue.trim({0: 6})
        async with queue.consumer("g") as consumer:
            assert [message.value for message in await consumer.poll()] == [b"6", b"7", b"8", b"9"]
    assert "group 'g' missed the offsets 2 to 5 of partition 0" in caplog.text


async def test_writers_wait_while_the_buffer_is_full(tmp_path: Path) -> None:
    async with queue_in(tmp_path, buffer_messages=10) as queue:
        calls = [asyncio.create_task(queue.append([Message(b"%d" % number)] * 4)) for number in range(50)]
        most = 0
        while not all(call.done() for call in calls):
            await asyncio.sleep(0)
            most = max(most, queue.statistics.buffered)
        assert 4 <= most <= 10
        values = [message.value for message in await queue.read(0, 0)]
        assert values == [b"%d" % number for number in range(50) for _ in range(4)]


LAST_TRANSACTION = "import lmdb, sys; print(lmdb.open(sys.argv[1], readonly=True).info()['last_txnid'])"


async def test_concurrent_appends_share_transactions(tmp_path: Path) -> None:
    def transactions() -> int:
        command = [sys.executable, "-c", LAST_TRANSACTION, str(queue.path)]
        return int(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)

    async with queue_in(tmp_path) as queue:
        before = transactions()
        await asyncio.gather(*(queue.append([Message(b"x")]) for _ in range(500)))
        assert transactions() - before < 50


async def test_directory_may_be_longer_than_a_socket_address(tmp_path: Path) -> None:
    async with queue_in(tmp_path / ("long" * 40)) as queue, queue.consumer("g") as consumer:
        waiting = asyncio.create_task(consumer.poll(timeout_seconds=20))
        await asyncio.sleep(0)
        await queue.append([Message(b"x")])
        assert len(await waiting) == 1
        assert len(list((queue.path / "bells").iterdir())) == 1
    assert list((queue.path / "bells").iterdir()) == []


async def test_socket_of_a_process_that_was_killed_is_removed(tmp_path: Path) -> None:
    async with queue_in(tmp_path) as queue:
        left = queue.path / "bells" / "1-dead.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            dead.bind(os.path.relpath(left))
        await queue.append([Message(b"x")])
        assert not left.exists()


async def test_full_commit_beyond_the_end_begins_at_the_end(tmp_path: Path) -> None:
    async with queue_in(tmp_path) as queue:
        await queue.append([Message(b"old")])
        await queue.commit("g", {0: Commit(50)})
        async with queue.consumer("g") as consumer:
            assert await consumer.poll(timeout_seconds=0) == []
            await queue.append([Message(b"new")])
            assert [message.value for message in await consumer.poll()] == [b"new"]


async def test_groups_that_read_a_topic_are_known(tmp_path: Path) -> None:
    async with queue_in(tmp_path) as queue:
        await queue.commit("b", {0: Commit(0)})
        async with queue.consumer("a") as consumer:
            await consumer.poll(timeout_seconds=0)
        assert await queue.groups() == ["a", "b"]


async def test_slow_revocation_is_cancelled_at_its_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def never(partitions: object) -> None:
        await asyncio.Event().wait()

    async with queue_in(tmp_path, handover_timeout_seconds=0.1) as queue:
        consumer = queue.consumer("g", on_revoked=never)
        await consumer.poll(timeout_seconds=0)
        async with asyncio.timeout(10):
            await consumer.close()
    assert "on_revoked for [0] took too long" in caplog.text


async def test_what_is_written_where_nobody_can_be_told_is_there_once(tmp_path: Path) -> None:
    async with await open_queue(f"log://{tmp_path}/t", Settings(partitions=1)) as queue:
        shutil.rmtree(tmp_path / "t" / "bells")
        await asyncio.gather(*(queue.append([Message(b"%d" % number)]) for number in range(20)))
        assert sorted(int(message.value) for message in await queue.read(0, 0)) == list(range(20))


@pytest.mark.parametrize("is_new", [False, True], ids=["deleted", "another in its place"])
async def test_topic_that_was_deleted_takes_nothing_more_and_says_so(tmp_path: Path, is_new: bool) -> None:
    async with await open_queue(f"log://{tmp_path}/t") as queue:
        consumer = queue.consumer("g")
        await consumer.poll(timeout_seconds=0)
        os.rename(tmp_path / "t", tmp_path / "u")
        if is_new:
            shutil.copytree(tmp_path / "u", tmp_path / "t", ignore=shutil.ignore_patterns("*.sock"))
        with pytest.raises(TopicGone, match=r"/t was deleted, or another .*start the processes again"):
            await queue.append([Message(b"1")])
        with pytest.raises(TopicGone):
            while True:  # what the old file holds is still read
                await consumer.poll(timeout_seconds=0)
        with pytest.raises(TopicGone):
            await queue.read(0, 100)


async def test_file_that_is_no_topic_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "data.mdb").write_bytes(b"something else" * 1_000)
    with pytest.raises(SpecError, match=r"/t: data.mdb is damaged, or of something else .*backup.*another address"):
        await open_queue(f"log://{tmp_path}/t")
