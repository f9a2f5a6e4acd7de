"""kill -9 of producers and consumers of the embedded log: nothing acknowledged is lost, little is repeated."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from millrace.queues.address import open_queue

PROGRAM = Path(__file__).with_name("log_program.py")
BATCH = 100
SOAK_ROUNDS = 5 if os.environ.get("SOAK") == "short" else 50


@dataclass
class Story:
    """What the programs printed, and whom they were."""

    folder: Path
    programs: list[tuple[str, subprocess.Popen[bytes], Path]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"log://{self.folder}/topic"

    def start(self, kind: str, *arguments: object) -> subprocess.Popen[bytes]:
        printed = self.folder / f"{len(self.programs)}-{kind}.txt"
        with printed.open("wb") as file:
            command = [sys.executable, str(PROGRAM), kind, self.url, *map(str, arguments)]
            program = subprocess.Popen(command, stdout=file)
        self.programs.append((kind, program, printed))
        return program

    def words(self, kind: str) -> Counter[bytes]:
        """Every word of the whole lines that programs of a kind printed."""
        found: Counter[bytes] = Counter()
        for name, _, printed in self.programs:
            if name == kind:
                found.update(printed.read_bytes().rpartition(b"\n")[0].split())
        return found

    def wait_for(self, program: subprocess.Popen[bytes], more_bytes: int) -> None:
        """Until a program has printed some, or is over."""
        (printed,) = (path for _, other, path in self.programs if other is program)
        deadline = time.monotonic() + 20
        while printed.stat().st_size < more_bytes and program.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)

    def end(self) -> None:
        for _, program, _ in self.programs:
            program.kill()
            program.wait()


def kill(program: subprocess.Popen[bytes]) -> None:
    program.kill()  # SIGKILL
    program.wait()


def run_rounds(story: Story, rounds: int, messages: int, chance: random.Random) -> int:
    """Kill a producer or one of two consumers in each round; answers how many consumers were killed."""
    consumers = [story.start("consume", BATCH) for _ in range(2)]
    kills = 0
    for number in range(rounds):
        producer = story.start("produce", number, messages)
        victim = producer if number % 2 else consumers[0]
        story.wait_for(producer, 1)
        time.sleep(chance.uniform(0.0, 0.2))  # a random moment is what is tested
        kill(victim)
        if victim is producer:
            producer = story.start("produce", f"{number}b", messages)
        else:
            kills += 1
            consumers = [consumers[1], story.start("consume", BATCH)]
        producer.wait(60)
    return kills


async def drained(url: str) -> None:
    """Until the group has done everything."""
    async with await open_queue(url) as queue, asyncio.timeout(60):
        while sum((await queue.lag("g")).values()):
            await asyncio.sleep(0.05)


def check_rounds(folder: Path, rounds: int, messages: int) -> None:
    story = Story(folder)
    seed = random.randrange(1 << 30)
    try:
        kills = run_rounds(story, rounds, messages, random.Random(seed))
        asyncio.run(drained(story.url))
    finally:
        story.end()
    acknowledged, handled = story.words("produce"), story.words("consume")
    lost = acknowledged.keys() - handled.keys()
    repeated = handled.total() - len(handled)
    print(
        f"\nseed {seed}: {rounds} rounds, {len(acknowledged):,} acknowledged, {len(lost)} lost, "
        f"{kills} consumers killed, {repeated} repeated (in flight at a kill: up to {BATCH})"
    )
    assert not lost
    assert repeated <= kills * BATCH


def test_kills_lose_nothing_and_repeat_only_what_was_in_flight(tmp_path: Path) -> None:
    check_rounds(tmp_path, rounds=3, messages=2_000)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_many_rounds_of_kills_lose_none_of_2_000_messages_a_round(tmp_path: Path) -> None:
    check_rounds(tmp_path, rounds=SOAK_ROUNDS, messages=2_000)
