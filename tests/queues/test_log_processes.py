"""The embedded log among processes: forks, stopped and blocked consumers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from millrace.queues.base import Settings
from millrace.queues.log import LogQueue
from millrace.queues.log_store import StoreForked
from millrace.queues.message import Message

PROGRAM = Path(__file__).parents[1] / "faults" / "log_program.py"
LEASE = {"lease_timeout_seconds": 1.0}


def queue_in(folder: Path, partitions: int = 4) -> LogQueue:
    return LogQueue(f"log://{folder}/topic", Settings(partitions=partitions, options=LEASE))


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, str(PROGRAM), *arguments], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


async def until_committed(queue: LogQueue, count: int) -> None:
    async with asyncio.timeout(30):
        while sum(commit.watermark for commit in (await queue.committed("g")).values()) < count:
            await asyncio.sleep(0.02)


async def test_two_processes_share_what_a_third_appends(tmp_path: Path) -> None:
    async with queue_in(tmp_path) as queue:
        with program("consume", queue.url, "50") as one, program("consume", queue.url, "50") as two:
            with program("produce", queue.url, "p", "3000") as producer:
                assert await asyncio.to_thread(producer.wait, 30) == 0
            await until_committed(queue, 3_000)
            for process in (one, two):
                process.kill()
            outputs = [process.communicate()[0] for process in (one, two)]
    assert Counter(b"".join(outputs).split()) == Counter(b"p:%d" % number for number in range(3_000))


async def test_partitions_of_a_killed_process_are_taken_over(tmp_path: Path) -> None:
    async with queue_in(tmp_path) as queue:
        with program("consume", queue.url, "50") as first:
            await queue.append([Message(b"%d" % number) for number in range(40)])
            await until_committed(queue, 40)
            first.send_signal(signal.SIGKILL)
        await queue.append([Message(b"%d" % number) for number in range(40, 80)])
        async with queue.consumer("g") as consumer, asyncio.timeout(20):
            found: list[Message] = []
            while len(found) < 40:
                found += await consumer.poll()
        assert {message.value for message in found} == {b"%d" % number for number in range(40, 80)}


async def test_stopped_process_loses_its_partitions_and_comes_back_as_a_new_member(tmp_path: Path) -> None:
    async with queue_in(tmp_path) as queue:
        with program("consume", queue.url, "50") as zombie:
            await queue.append([Message(b"x")] * 40)
            await until_committed(queue, 40)
            zombie.send_signal(signal.SIGSTOP)
            consumer = queue.consumer("g")
            async with asyncio.timeout(20):
                while len(consumer.assigned) < 4:
                    await consumer.poll(timeout_seconds=0.1)
                zombie.send_signal(signal.SIGCONT)
                while len(consumer.assigned) > 2:
                    await consumer.poll(timeout_seconds=0.1)
            await consumer.close()


async def test_blocked_event_loop_gives_up_what_it_is_asked_for_and_loses_no_more(tmp_path: Path) -> None:
    revoked: list[int] = []

    async def on_revoked(partitions: Iterable[int]) -> None:
        revoked.extend(partitions)

    async with queue_in(tmp_path) as queue:
        consumer = queue.consumer("g", on_revoked=on_revoked)
        await consumer.poll(timeout_seconds=0)
        with program("consume", queue.url, "50"):
            time.sleep(3 * LEASE["lease_timeout_seconds"])  # a slow handler, three leases long
            await consumer.poll(timeout_seconds=0)
            assert len(revoked) == len(consumer.assigned) == 2
        await consumer.close()


def in_child(work: Callable[[], object]) -> int:
    """Fork, run `work` in the child; its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_queue_is_opened_again_after_a_fork(tmp_path: Path) -> None:
    async def append(value: bytes) -> None:
        async with queue_in(tmp_path, partitions=1) as queue:
            await queue.append([Message(value)])

    async def main() -> None:
        async with queue_in(tmp_path, partitions=1) as queue:
            await queue.append([Message(b"parent")])
            status = await asyncio.to_thread(in_child, lambda: asyncio.Runner().run(append(b"child")))
            assert status == 0
            await queue.append([Message(b"parent again")])
            values = [message.value for message in await queue.read(0, 0)]
            assert values == [b"parent", b"child", b"parent again"]

    asyncio.run(main())


def test_queue_of_the_parent_is_refused_in_the_child(tmp_path: Path) -> None:
    async def main() -> None:
        async with queue_in(tmp_path, partitions=1) as queue:

            def use() -> None:
                with pytest.raises(StoreForked, match="open the queue again in this process"):
                    asyncio.Runner().run(queue.append([Message(b"x")]))

            assert await asyncio.to_thread(in_child, use) == 0

    asyncio.run(main())
