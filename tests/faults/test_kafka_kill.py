"""kill -9 of producers, consumers and the broker of a Kafka topic: nothing acknowledged is lost, little is repeated."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from millrace.queues.address import open_queue

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "kafka")]

import kafka_program  # noqa: E402
from broker import Broker, BrokerMissing, fetch_jars  # noqa: E402

CLIENTS = ("kafka-python", "confluent-kafka")
PATIENCE_SECONDS = 60
SOAK_ROUNDS = 5 if os.environ.get("SOAK") == "short" else 50


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, to be killed."""
    try:
        fetch_jars()
        own = Broker(tmp_path / "broker")
        own.start()
    except BrokerMissing as reason:
        pytest.skip(f"there is no real broker: {reason}")
    yield own
    own.stop()


@dataclass
class Story:
    """Programs that run, and what they printed."""

    broker: Broker
    client: str
    folder: Path
    programs: list[tuple[str, subprocess.Popen[bytes], Path]] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"kafka://{self.broker.bootstrap}/story"

    def start(self, kind: str, *arguments: object) -> subprocess.Popen[bytes]:
        printed = self.folder / f"{len(self.programs)}-{kind}.txt"
        with printed.open("wb") as file:
            command = [sys.executable, HERE / "kafka_program.py", kind, self.url, self.client, *map(str, arguments)]
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

    def wait_for_more(self, program: subprocess.Popen[bytes], lines: int) -> None:
        """Until a program has printed some more, or is over."""
        (printed,) = (path for _, other, path in self.programs if other is program)
        wanted = printed.read_bytes().count(b"\n") + lines
        deadline = time.monotonic() + PATIENCE_SECONDS
        while printed.read_bytes().count(b"\n") < wanted and program.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)

    def kill(self, kind: str, program: subprocess.Popen[bytes]) -> None:
        program.kill()
        program.wait()
        self.killed[kind] += 1

    def end(self) -> None:
        """Let a consumer read to the end; then end all."""
        self.start("consume")
        asyncio.run(self.drained())
        for _, program, _ in self.programs:
            program.kill()
            program.wait()

    async def drained(self) -> None:
        settings = kafka_program.settings(self.client)
        async with asyncio.timeout(PATIENCE_SECONDS), await open_queue(self.url, settings) as queue:
            while any((await queue.lag(kafka_program.GROUP)).values()):
                await asyncio.sleep(0.1)

    def tell(self) -> tuple[int, int]:
        """How many acknowledged messages are lost, and how many were read more than once."""
        acknowledged, read = self.words("produce"), self.words("consume")
        lost = sum(word not in read for word in acknowledged)
        repeated = sum(count - 1 for count in read.values())
        killed = ", ".join(f"{count} {kind}" for kind, count in self.killed.items())
        print(f"{self.client}: {len(acknowledged):,} acknowledged, {lost} lost, {repeated} repeated; killed: {killed}")
        return lost, repeated


def play(story: Story, rounds: int, count: int) -> None:
    """In each round one of a producer and a consumer is killed, at random."""
    consumer = story.start("consume")
    for number in range(rounds):
        producer = story.start("produce", f"r{number}", count)
        story.wait_for_more(producer, random.randint(20, 400))
        story.wait_for_more(consumer, random.randint(1, 8))
        if number % 2:
            story.kill("consume", consumer)
            consumer = story.start("consume")
            producer.wait(PATIENCE_SECONDS)
        else:
            story.kill("produce", producer)
    story.end()


@pytest.mark.parametrize("client", CLIENTS)
def test_killed_programs_lose_nothing(broker: Broker, client: str, tmp_path: Path) -> None:
    story = Story(broker, client, tmp_path)
    play(story, rounds=2, count=2_000)
    lost, repeated = story.tell()
    assert lost == 0
    assert repeated <= kafka_program.BATCH * story.killed["consume"]


@pytest.mark.soak
@pytest.mark.parametrize("client", CLIENTS)
def test_many_rounds_lose_nothing(broker: Broker, client: str, tmp_path: Path) -> None:
    story = Story(broker, client, tmp_path)
    play(story, rounds=SOAK_ROUNDS, count=4_000)
    lost, repeated = story.tell()
    assert lost == 0
    assert repeated <= kafka_program.BATCH * story.killed["consume"]


@pytest.mark.parametrize("client", CLIENTS)
def test_killed_broker_loses_nothing_that_it_acknowledged(broker: Broker, client: str, tmp_path: Path) -> None:
    story = Story(broker, client, tmp_path)
    consumer, producer = story.start("consume"), story.start("produce", "a", 6_000)
    story.wait_for_more(consumer, 5)
    broker.kill()
    broker.start()
    story.killed["broker"] += 1
    assert producer.wait(PATIENCE_SECONDS) == 0
    story.end()
    lost, repeated = story.tell()
    assert lost == 0
    assert repeated <= 10 * kafka_program.BATCH
