"""kill -9 of sender, parent, child functions and supervisor: what was accepted is done, and little is done twice."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from millrace.queues.address import open_queue
from millrace.queues.message import Message

PROGRAM = Path(__file__).with_name("child_program.py")
IN_FLIGHT, PARTITIONS = 50, 4
BOUND = IN_FLIGHT * PARTITIONS
"""How many messages a process may have taken and not committed: `max_in_flight` of each partition."""
ROUNDS, MESSAGES = (3, 400) if os.environ.get("SOAK") == "short" else (50, 2_000)


@dataclass
class Story:
    """The supervisor, what it printed, and what the functions noted in a folder."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    replicas: int = 2
    lines: list[str] = field(default_factory=list)
    supervisor: subprocess.Popen[str] | None = None
    port: int = 0

    def up(self) -> None:
        """Start the supervisor, at the port that it had before."""
        begin = len(self.lines)
        command = [sys.executable, "-m", "millrace", "up", str(PROGRAM), "--port", str(self.port), "--replicas",
                   f"a={self.replicas}", "--streams", str(self.folder / "q"), "--status-seconds", "0.2",
                   "--drain-seconds", "10"]  # fmt: skip
        environment = {**os.environ, "IN_FLIGHT": str(IN_FLIGHT), **self.settings}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.supervisor = subprocess.Popen(command, cwd=self.folder, env=environment, text=True, **streams)
        threading.Thread(target=self._read, args=(self.supervisor,), daemon=True).start()
        until(lambda: any(" is up: " in line for line in self.lines[begin:]))
        found = re.findall(r"http://127\.0\.0\.1:(\d+)", "".join(self.lines[begin:]))
        self.port = int(found[0])

    def _read(self, supervisor: subprocess.Popen[str]) -> None:
        assert supervisor.stdout is not None
        with supervisor.stdout as output:
            self.lines.extend(output)

    def pids(self) -> dict[str, int]:
        """The processes of the functions, as the table told last."""
        rows = re.findall(r"^(\w+/\d) +runs +(\d+)", "".join(self.lines[-40:]), re.MULTILINE)
        return {name: int(pid) for name, pid in rows}

    def total(self, column: int) -> int:
        """The sum of a column of the last table."""
        table = "".join(self.lines).rpartition("function  state")[2]
        return sum(int(row.split()[column]) for row in table.splitlines()[1:4] if row)

    def send(self, begin: int, count: int) -> subprocess.Popen[bytes]:
        url = f"http://127.0.0.1:{self.port}"
        return subprocess.Popen([sys.executable, PROGRAM, url, str(begin), str(count), "sent"], cwd=self.folder)

    def noted(self, name: str) -> Counter[int]:
        """The numbers in all files of a name."""
        found: Counter[int] = Counter()
        for file in [*self.folder.glob(f"{name}-*"), *self.folder.glob(name)]:
            if file.is_file():
                found.update(map(int, file.read_bytes().rpartition(b"\n")[0].split()))
        return found

    def wait_until_done(self) -> None:
        """Until both groups have done everything."""
        asyncio.run(self._drained("orders", "shop-a-consumer-group"))
        asyncio.run(self._drained("results", "shop-b-consumer-group"))

    async def _drained(self, topic: str, group: str) -> None:
        async with await open_queue(f"log://{self.folder}/q/{topic}") as queue, asyncio.timeout(120):
            while sum((await queue.lag(group)).values()):
                await asyncio.sleep(0.05)


def until(is_true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def story_in(folder: Path, **options: object) -> Iterator[Story]:
    story = Story(folder, **options)  # type: ignore[arg-type]
    try:
        story.up()
        yield story
    finally:
        if story.supervisor is not None:
            story.supervisor.kill()  # its processes end with it
            story.supervisor.wait()


def run_round(story: Story, number: int, chance: random.Random, kills: Counter[str]) -> None:
    """Send numbers, and kill somebody meanwhile."""
    begin = number * 2 * MESSAGES
    sender = story.send(begin, MESSAGES)
    before = story.noted("sent").total()
    until(lambda: story.noted("sent").total() > before or sender.poll() is not None)
    victim = chance.choice(["sender", "shop/0", "a/0", "a/1", "b/0", "a/0", "a/1", "b/0", "supervisor"])
    time.sleep(chance.uniform(0.0, 0.4))  # a random moment is what is tested
    kills[victim] += 1
    if victim == "sender":
        sender.kill()
    elif victim == "supervisor":
        assert story.supervisor is not None
        story.supervisor.kill()
        story.supervisor.wait()
        sender.wait(60)
        story.up()
    else:
        until(lambda: victim in story.pids())
        pid = story.pids()[victim]
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            kills[victim] -= 1  # the table was not new enough
        until(lambda: story.pids().get(victim, pid) != pid)
    sender.wait(60)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_kills_of_all_that_runs_lose_nothing_and_repeat_only_what_was_in_flight(tmp_path: Path) -> None:
    seed, kills = random.randrange(1 << 30), Counter[str]()
    chance = random.Random(seed)
    with story_in(tmp_path) as story:
        for number in range(ROUNDS):
            run_round(story, number, chance, kills)
            story.send(number * 2 * MESSAGES + MESSAGES, MESSAGES).wait(120)
        story.wait_until_done()
        sent, first, second = (story.noted(name) for name in ("sent", "a", "b"))
    lost = sent.keys() - second.keys()
    again = {"a": first.total() - len(first), "b": second.total() - len(second)}
    of_a, of_b = kills["a/0"] + kills["a/1"] + kills["supervisor"] * 2, kills["b/0"] + kills["supervisor"]
    print(f"\nseed {seed}: {ROUNDS} rounds, {len(sent):,} accepted, {len(lost)} lost, killed {dict(kills)}, "
          f"repeated {again} (in flight at a kill: up to {BOUND})")  # fmt: skip
    assert not lost and len(sent) > ROUNDS * MESSAGES
    assert again["a"] <= of_a * BOUND and again["b"] <= of_b * BOUND + again["a"]


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_step_that_takes_longer_than_a_lease_is_not_run_twice_and_moves_no_partition(tmp_path: Path) -> None:
    with story_in(tmp_path, settings={"SLOW_SECONDS": "25"}) as story:
        story.send(0, 200).wait(60)
        story.wait_until_done()
        assert story.noted("a") == Counter(range(200)) == story.noted("b")
        assert not [line for line in story.lines if "will come again" in line or "lost" in line]


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_readers_that_join_and_leave_under_load_lose_and_repeat_nothing(tmp_path: Path) -> None:
    with story_in(tmp_path, replicas=1) as story:
        sender = story.send(0, 10 * MESSAGES)
        others = []
        for _ in range(2):
            other = Story(tmp_path, replicas=2)
            other.up()
            others.append(other)
        for other in others:
            assert other.supervisor is not None
            other.supervisor.send_signal(signal.SIGTERM)
            assert other.supervisor.wait(60) == 0
        assert sender.wait(200) == 0
        story.wait_until_done()
        sent = story.noted("sent")
        assert len(sent) == 10 * MESSAGES and story.noted("a") == sent == story.noted("b")


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_poison_every_thousand_becomes_dead_letters_and_all_others_go_through(tmp_path: Path) -> None:
    with story_in(tmp_path, settings={"POISON_EVERY": "1000"}) as story:
        assert story.send(0, 5_000).wait(120) == 0
        story.wait_until_done()
        poison = set(range(999, 5_000, 1_000))
        assert {*story.noted("b")} == {*range(5_000)} - poison
        letters = asyncio.run(messages(f"log://{tmp_path}/q/orders-dead-letters"))
    assert sorted(int(one.value) for one in letters) == sorted(poison)
    assert {one.headers["x-attempts"] for one in letters} == {"2"}


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_dead_letters_that_can_not_be_written_stop_the_reader_which_keeps_the_message(tmp_path: Path) -> None:
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "orders-dead-letters").touch()  # a file where the queue's folder should be
    with story_in(tmp_path, settings={"POISON_EVERY": "10"}) as story:
        story.send(0, 20).wait(60)
        until(lambda: "its dead letter could not be written" in "".join(story.lines))
        until(lambda: story.total(-1) > 0)  # it is started again, and tries again
        assert 9 not in story.noted("a")
        (tmp_path / "q" / "orders-dead-letters").unlink()
        story.wait_until_done()
        letters = asyncio.run(messages(f"log://{tmp_path}/q/orders-dead-letters"))
        assert {int(one.value) for one in letters} == {9, 19}
        assert {*story.noted("b")} == {*range(20)} - {9, 19}


async def messages(url: str) -> list[Message]:
    async with await open_queue(url) as queue:
        return [one for partition in range(queue.partitions) for one in await queue.read(partition, 0, 10_000)]
