"""Processes that read exactly once are killed with -9, or stand still so long that others take over their work.

Every message counts once in the output, or once as a dead letter.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
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
from millrace.queues.base import Settings
from millrace.queues.message import Message

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "kafka"))

from broker import Broker, BrokerMissing, fetch_jars  # noqa: E402

CLIENTS = ("kafka-python", "confluent-kafka")
OPTIONS = {"session_timeout_ms": 2_000, "heartbeat_interval_ms": 200, "transaction_timeout_ms": 5_000}
PARTITIONS, POISON_EVERY, PATIENCE_SECONDS = 4, 50, 90
SOAK_ROUNDS = 5 if os.environ.get("SOAK") == "short" else 20


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
        own.stop()


@dataclass
class Story:
    """Two processes that move messages from a topic to another."""

    broker: Broker
    client: str
    folder: Path
    topic: str = field(default_factory=lambda: f"story-{uuid.uuid4().hex[:8]}")
    programs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    appended: int = 0
    killed: int = 0
    halted: int = 0
    broker_killed: int = 0

    @property
    def settings(self) -> Settings:
        return Settings(partitions=PARTITIONS, options={"client": self.client, **OPTIONS})

    @property
    def url(self) -> str:
        return f"kafka://{self.broker.bootstrap}/{self.topic}"

    def start(self, name: str) -> None:
        command = [sys.executable, "-m", "millrace", "serve", str(HERE / "exactly_once_program.py"), "--port", "0"]
        environment = {"TOPIC": self.url, "OPTIONS": json.dumps(self.settings.options)}
        environment |= {"NAME": f"{self.topic}-{name}", "GROUP": f"movers-of-{self.topic}"}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.programs[name] = subprocess.Popen(
                command, cwd=self.folder, env={**os.environ, **environment}, stdout=log, stderr=log
            )

    def handled(self) -> int:
        """How often a message was handled."""
        return sum(file.read_bytes().count(b"\n") for file in self.folder.glob("handled-*"))

    def append_and_wait(self, count: int, handled: int) -> None:
        """Append messages, and wait until so many more were handled."""
        wanted, deadline = self.handled() + handled, time.monotonic() + PATIENCE_SECONDS
        asyncio.run(self.append(count))
        while self.handled() < wanted and time.monotonic() < deadline:
            time.sleep(0.005)

    def kill(self, name: str) -> None:
        self.programs[name].kill()
        self.programs[name].wait()
        self.killed += 1

    def kill_broker(self) -> None:
        self.broker.kill()
        self.broker.start()
        self.broker_killed += 1

    def halt(self, name: str) -> None:
        """Let a process stand still until the others have its partitions, and then go on as if nothing had been."""
        self.programs[name].send_signal(signal.SIGSTOP)
        asyncio.run(self.append(200))
        asyncio.run(self.all_committed())
        self.programs[name].send_signal(signal.SIGCONT)
        self.halted += 1

    async def all_committed(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), await open_queue(self.url, self.settings) as queue:
            while any((await queue.lag(f"movers-of-{self.topic}")).values()):
                await asyncio.sleep(0.05)

    async def append(self, count: int) -> None:
        async with await open_queue(self.url, self.settings) as queue:
            await queue.append([Message(b"%d" % n, b"%d" % n) for n in range(self.appended, self.appended + count)])
        self.appended += count

    async def values(self, url: str) -> Counter[int]:
        found: Counter[int] = Counter()
        async with await open_queue(url, self.settings) as queue:
            for partition in range(queue.partitions):
                offset = 0
                while messages := await queue.read(partition, offset, 5_000):
                    found.update(int(message.value) for message in messages)
                    offset = messages[-1].offset + 1
        return found

    async def tell(self) -> tuple[Counter[int], Counter[int]]:
        """What is missing, and what is there too often; of outputs and dead letters."""
        poison = Counter(range(POISON_EVERY - 1, self.appended, POISON_EVERY))
        good = Counter(range(self.appended)) - poison
        wanted = good + Counter({-number - 1: 1 for number in good}) + Counter({n + 10**9: 1 for n in poison})
        found: Counter[int] = Counter()
        await self.all_committed()
        deadline = time.monotonic() + 10  # the brokers mark the end of a transaction after it was confirmed
        while found.total() < wanted.total() and time.monotonic() < deadline:
            letters = await self.values(f"{self.url}-dead-letters")
            found = await self.values(f"{self.url}-out") + Counter({n + 10**9: c for n, c in letters.items()})
        print(
            f"{self.client}: {self.appended:,} messages, {(wanted - found).total()} lost, "
            f"{(found - wanted).total()} repeated; {self.handled() - self.appended - poison.total()} handled again; "
            f"{self.killed} killed, {self.halted} halted, the broker {self.broker_killed} times"
        )
        return wanted - found, found - wanted


@pytest.fixture(params=CLIENTS)
def story(request: pytest.FixtureRequest, broker: Broker, tmp_path: Path) -> Iterator[Story]:
    """A story that leaves no program behind."""
    one = Story(broker, request.param, tmp_path)
    yield one
    for program in one.programs.values():
        program.kill()
        program.wait()


def play(story: Story, rounds: int, count: int, kinds: Sequence[str]) -> tuple[Counter[int], Counter[int]]:
    """In each round one of two processes, or the broker, is killed or stands still, at a random moment."""
    for name in "ab":
        story.start(name)
    for number in range(rounds):
        name, kind = "ab"[number % 2], kinds[number % len(kinds)]
        story.append_and_wait(count, random.randint(20, 500))
        time.sleep(random.random() / 5)  # anywhere in a transaction
        if kind == "halt":
            story.halt(name)
        elif kind == "broker":
            story.kill_broker()
        else:
            story.kill(name)
            story.start(name)
    asyncio.run(story.append(count))
    return asyncio.run(story.tell())


@pytest.mark.timeout(180)
def test_killed_processes_write_every_message_exactly_once(story: Story) -> None:
    assert play(story, 3, 1_000, ["kill", "kill", "halt"]) == (Counter(), Counter())


@pytest.mark.soak
@pytest.mark.timeout(180)
def test_killed_broker_leaves_every_message_exactly_once(story: Story) -> None:
    assert play(story, 1, 1_000, ["broker"]) == (Counter(), Counter())


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_many_killed_processes_write_every_message_exactly_once(story: Story) -> None:
    assert play(story, SOAK_ROUNDS, 2_000, ["kill", "kill", "halt", "broker"]) == (Counter(), Counter())
