"""kill -9 of producers, consumers and the broker of a Kafka topic: nothing acknowledged is lost, little is repeated."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
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


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of these tests' own, to be killed."""
    own = Broker(tmp_path_factory.mktemp("kafka") / "broker")
    try:
        fetch_jars()
        own.start()
        yield own
    except BrokerMissing as reason:
        pytest.skip(f"there is no real broker: {reason}")
    finally:
        own.kill()


@dataclass
class Story:
    """Programs that run, and what they printed."""

    broker: Broker
    client: str
    folder: Path
    programs: list[tuple[str, subprocess.Popen[bytes], Path]] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    topic: str = field(default_factory=lambda: f"story-{uuid.uuid4().hex[:8]}")

    @property
    def url(self) -> str:
        return f"kafka://{self.broker.bootstrap}/{self.topic}"

    @property
    def target(self) -> str:
        return f"{self.url}-moved"

    def start(self, kind: str, *arguments: object) -> subprocess.Popen[bytes]:
        printed = self.folder / f"{len(self.programs)}-{kind}.txt"
        with printed.open("wb") as file, printed.with_suffix(".log").open("wb") as log:
            command = [sys.executable, HERE / "kafka_program.py", kind, self.url, self.client, *map(str, arguments)]
            program = subprocess.Popen(command, stdout=file, stderr=log)
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

    def end(self, kind: str, *arguments: object) -> None:
        """Let a program read to the end; then end all."""
        self.start(kind, *arguments)
        asyncio.run(self.drained())
        self.kill_all()

    def kill_all(self) -> None:
        for _, program, _ in self.programs:
            program.kill()
            program.wait()

    async def drained(self) -> None:
        settings = kafka_program.settings(self.client)
        async with asyncio.timeout(PATIENCE_SECONDS), await open_queue(self.url, settings) as queue:
            while any((await queue.lag(kafka_program.group_of(self.url))).values()):
                await asyncio.sleep(0.1)

    def tell(self) -> tuple[int, int]:
        """How many acknowledged messages are lost, and how many were read more than once."""
        acknowledged, read = self.words("produce"), self.words("consume")
        lost = sum(word not in read for word in acknowledged)
        repeated = sum(count - 1 for count in read.values())
        killed = ", ".join(f"{count} {kind}" for kind, count in self.killed.items())
        counts = f"{len(acknowledged):,} acknowledged, {lost} lost, {repeated} repeated"
        print(f"{self.client}: {counts}; killed: {killed}; memberships lost: {self.memberships_lost}")
        return lost, repeated

    def tell_of_moved(self) -> tuple[int, int]:
        """How many messages are not in the target, and how many are more than once."""
        source, target = asyncio.run(self.values(self.url)), Counter[bytes]()
        deadline = time.monotonic() + 10  # the brokers mark the end of the last transaction after it was confirmed
        while target.total() < source.total() and time.monotonic() < deadline:
            target = asyncio.run(self.values(self.target))
        lost, repeated = (source - target).total(), (target - source).total()
        print(f"{self.client}: {source.total():,} to move, {lost} lost, {repeated} repeated; killed: {self.killed}")
        return lost, repeated

    async def values(self, url: str) -> Counter[bytes]:
        """All that can be read in a topic."""
        found: Counter[bytes] = Counter()
        async with await open_queue(url, kafka_program.settings(self.client)) as queue:
            for partition in range(queue.partitions):
                offset = 0
                while messages := await queue.read(partition, offset, 5_000):
                    found.update(message.value for message in messages)
                    offset = messages[-1].offset + 1
        return found

    def kill_broker(self) -> None:
        self.broker.kill()
        self.killed["broker"] += 1
        self.broker.start()

    @property
    def memberships_lost(self) -> int:
        """How often a consumer that lived was told that its partitions are somebody else's."""
        logs = [printed.with_suffix(".log") for kind, _, printed in self.programs if kind == "consume"]
        return sum(log.read_text().count("were lost") for log in logs)

    @property
    def most_repeated(self) -> int:
        """What was in flight: a batch of each consumer that was killed, and one for each membership that was lost.

        The brokers end a membership that they do not hear of for the session's time, which here is so short that a busy
        machine, or a broker that starts slowly, is enough: the killed brokers do not bound how often that happens.
        """
        return kafka_program.BATCH * (self.killed["consume"] + self.memberships_lost)


@pytest.fixture(params=CLIENTS)
def story(request: pytest.FixtureRequest, broker: Broker, tmp_path: Path) -> Iterator[Story]:
    """A story that leaves no program behind."""
    one = Story(broker, request.param, tmp_path)
    yield one
    one.kill_all()


def play(story: Story, rounds: int, count: int, kinds: Sequence[str]) -> None:
    """In each round a producer, a consumer or the broker is killed, at a random moment."""
    consumer = story.start("consume")
    for number in range(rounds):
        producer = story.start("produce", f"r{number}", count)
        story.wait_for_more(producer, random.randint(20, 400))
        story.wait_for_more(consumer, random.randint(1, 8))
        kind = kinds[number % len(kinds)]
        if kind == "produce":
            story.kill(kind, producer)
            continue
        if kind == "consume":
            story.kill(kind, consumer)
            consumer = story.start(kind)
        else:
            story.kill_broker()
        assert producer.wait(PATIENCE_SECONDS) == 0
    story.end("consume")


def test_killed_programs_lose_nothing(story: Story) -> None:
    play(story, rounds=2, count=2_000, kinds=("produce", "consume"))
    lost, repeated = story.tell()
    assert lost == 0
    assert repeated <= story.most_repeated


@pytest.mark.soak
def test_many_rounds_lose_nothing(story: Story) -> None:
    play(story, rounds=SOAK_ROUNDS, count=4_000, kinds=("produce", "consume", "produce", "consume", "broker"))
    lost, repeated = story.tell()
    assert lost == 0
    assert repeated <= story.most_repeated


def move(story: Story, rounds: int, count: int) -> None:
    """A program that moves messages in transactions is killed in each round."""
    for number in range(rounds):
        mover, producer = story.start("move", story.target), story.start("produce", f"r{number}", count)
        story.wait_for_more(mover, random.randint(1, count // kafka_program.BATCH))
        time.sleep(random.random() / 50)  # anywhere in a transaction
        story.kill("move", mover)
        assert producer.wait(PATIENCE_SECONDS) == 0
    story.end("move", story.target)


@pytest.mark.soak
def test_many_killed_transactions_move_every_message_exactly_once(story: Story) -> None:
    move(story, rounds=SOAK_ROUNDS, count=2_000)
    assert story.tell_of_moved() == (0, 0)
