"""Bells: who waits is woken, and nothing else happens when one is not heard."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from millrace.queues.doorbell import Bell, Ringer

RING = "import sys, pathlib; from millrace.queues.doorbell import Ringer; Ringer(pathlib.Path(sys.argv[1])).ring()"


def bell_in(folder: Path) -> Bell:
    return Bell(folder, asyncio.get_running_loop())


async def test_every_bell_of_the_directory_hears_another_process(tmp_path: Path) -> None:
    with bell_in(tmp_path) as one, bell_in(tmp_path) as two:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", RING, str(tmp_path))
        async with asyncio.timeout(20):
            while not (one.rings and two.rings):
                await asyncio.gather(one.wait(one.rings, 1), two.wait(two.rings, 1))
        assert await process.wait() == 0


async def test_ring_before_the_wait_is_not_lost(tmp_path: Path) -> None:
    with bell_in(tmp_path) as bell:
        bell.ring()
        async with asyncio.timeout(5):
            await bell.wait(0, timeout_seconds=1_000)


async def test_wait_ends_by_itself(tmp_path: Path) -> None:
    with bell_in(tmp_path) as bell:
        async with asyncio.timeout(5):
            await bell.wait(bell.rings, timeout_seconds=1_000)
        assert bell.rings == 0


async def test_bell_that_does_not_listen_stops_nobody(tmp_path: Path) -> None:
    with bell_in(tmp_path) as bell, Ringer(tmp_path) as ringer:
        for _ in range(10_000):
            ringer.ring()
        await bell.wait(bell.rings, timeout_seconds=5)
        assert bell.rings >= 1


async def test_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("x")
    with Ringer(tmp_path) as ringer:
        ringer.ring()
    assert os.listdir(tmp_path) == ["note.txt"]


def test_ring_where_nobody_listens_does_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", RING, str(tmp_path)], check=True, timeout=30)
