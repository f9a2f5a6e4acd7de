"""A full map and a full disk: a clear error, nothing lost, and a way on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.errors import QueueFull
from millrace.queues.address import open_queue
from millrace.queues.base import Commit, Queue, Settings
from millrace.queues.message import Message

SMALL = 1 << 20


def settings(map_bytes: int = SMALL, **more: float) -> Settings:
    return Settings(partitions=1, options={"map_bytes": map_bytes}, **more)


async def fill(queue: Queue, size: int = 5_000) -> list[bytes]:
    """Append until it is full; what was acknowledged."""
    kept = []
    for number in range(10_000):
        value = b"%d:" % number + bytes(size)
        try:
            await queue.append([Message(value)])
        except QueueFull:
            return kept
        kept.append(value)
    raise AssertionError("never full")


async def values(queue: Queue) -> list[bytes]:
    found: list[Message] = []
    while batch := await queue.read(0, found[-1].offset + 1 if found else 0):
        found += batch
    return [message.value for message in found]


def test_full_map_says_so_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    async def main() -> None:
        async with await open_queue(f"log://{tmp_path}/t", settings()) as queue:
            kept = await fill(queue)
            with pytest.raises(QueueFull, match=r"map of 1,048,576 bytes is full.*map_bytes.*retention"):
                await queue.append([Message(bytes(5_000))])
            assert await values(queue) == kept

    asyncio.run(main())


def test_nothing_of_a_call_that_does_not_fit_is_appended(tmp_path: Path) -> None:
    async def main() -> None:
        async with await open_queue(f"log://{tmp_path}/t", settings()) as queue:
            with pytest.raises(QueueFull):
                await queue.append([Message(bytes(1_000))] * 2_000)
            assert await queue.end_offsets() == {0: 0}
            assert (await queue.append([Message(b"small")]))[0].offset == 0

    asyncio.run(main())


def test_call_that_does_not_fit_fails_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with await open_queue(f"log://{tmp_path}/t", settings()) as queue:
            calls = [queue.append([Message(bytes(size))]) for size in (100, 5_000_000, 100)]
            first, second, third = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(second, QueueFull)
            assert isinstance(first, list) and isinstance(third, list)

    asyncio.run(main())


def test_full_log_can_still_be_consumed_and_committed(tmp_path: Path) -> None:
    async def main() -> None:
        async with await open_queue(f"log://{tmp_path}/t", settings()) as queue:
            kept = await fill(queue)
            async with queue.consumer("g") as consumer:
                found = await consumer.poll(10_000)
                await consumer.commit({0: Commit(len(found))})
            assert len(found) == len(kept)
            assert await queue.lag("g") == {0: 0}

    asyncio.run(main())


def test_larger_map_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with await open_queue(f"log://{tmp_path}/t", settings()) as queue:
            kept = await fill(queue)
        async with await open_queue(f"log://{tmp_path}/t", settings(16 * SMALL)) as queue:
            await queue.append([Message(b"more")])
            assert await values(queue) == [*kept, b"more"]

    asyncio.run(main())


GROW = """
import asyncio, sys
from millrace.queues.address import open_queue
from millrace.queues.base import Settings
from millrace.queues.message import Message
async def main():
    async with await open_queue(sys.argv[1], Settings(options={"map_bytes": 16 << 20})) as queue:
        for _ in range(20):
            await queue.append([Message(bytes(1_000))] * 100)
asyncio.run(main())
"""


def test_process_takes_the_larger_map_of_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with await open_queue(f"log://{tmp_path}/t", settings()) as queue:
            kept = await fill(queue)
            subprocess.run([sys.executable, "-c", GROW, queue.url], check=True, timeout=50)
            assert len(await values(queue)) == len(kept) + 2_000
            await queue.append([Message(b"more")])

    asyncio.run(main())


def test_retention_frees_a_full_map(tmp_path: Path) -> None:
    async def main() -> None:
        async with await open_queue(f"log://{tmp_path}/t", settings()) as queue:
            kept = await fill(queue)
        async with await open_queue(f"log://{tmp_path}/t", settings(retention_bytes=SMALL // 2)) as queue:
            more = [b"more" + bytes(5_000)] * 20
            for value in more:
                await queue.append([Message(value)])
            left = await values(queue)
            assert left == [*kept, *more][-len(left) :]
            assert SMALL // 3 < sum(map(len, left)) < SMALL // 2 + 20 * 5_004

    asyncio.run(main())


def test_trimming_frees_a_full_map(tmp_path: Path) -> None:
    async def main() -> None:
        async with await open_queue(f"log://{tmp_path}/t", settings()) as queue:
            kept = await fill(queue)
            assert await queue.trim({0: 50}) == 50
            assert await queue.begin_offsets() == {0: 50}
            await queue.append([Message(b"more")])
            assert await values(queue) == [*kept[50:], b"more"]

    asyncio.run(main())


def small_disk(folder: Path) -> bool:
    """Mount a file system of 2 MiB, where that is allowed."""
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("size", [5_000, 20_000])
def test_full_disk_says_so_loses_nothing_and_goes_on(tmp_path: Path, size: int) -> None:
    if not small_disk(tmp_path):
        pytest.skip("a small file system can not be mounted here")

    async def main() -> None:
        ballast = tmp_path / "ballast"
        ballast.write_bytes(bytes(800_000))
        async with await open_queue(f"log://{tmp_path}/t", settings(64 * SMALL)) as queue:
            kept = await fill(queue, size)
            with pytest.raises(QueueFull, match=r"the disk is full.*free space"):
                await queue.append([Message(bytes(100_000))])
            assert await values(queue) == kept
            ballast.unlink()
            await queue.append([Message(b"more")])
            assert await values(queue) == [*kept, b"more"]

    try:
        asyncio.run(main())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_topic_that_finds_no_room_on_the_disk_is_an_error_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    if not small_disk(tmp_path):
        pytest.skip("a small file system can not be mounted here")
    try:
        with open(tmp_path / "ballast", "wb", buffering=0) as ballast, pytest.raises(OSError, match="No space"):
            while True:
                ballast.write(bytes(4_096))
        command = [sys.executable, "-c", GROW, f"log://{tmp_path}/t"]
        made = subprocess.run(command, check=False, capture_output=True, text=True)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert made.returncode == 1 and "the disk is full" in made.stderr
