"""The embedded log beside plain lists: any sequence of calls gives the same."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from millrace.queues.base import Commit, Consumer, Queue, Settings
from millrace.queues.log import LogQueue
from millrace.queues.message import Message

T = TypeVar("T")
PARTITIONS = 3
messages = st.builds(
    Message,
    st.binary(max_size=20),
    st.none() | st.binary(max_size=4),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    st.integers(-1, PARTITIONS - 1),
    timestamp=st.floats(0, 100),
)


class LogBesideLists(RuleBasedStateMachine):
    """A list per partition, of (offset, message); what is trimmed is cut off in front."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.lists: list[list[Message]] = [[] for _ in range(PARTITIONS)]
        self.ends = [0] * PARTITIONS
        self.commits: dict[int, Commit] = {}
        self.positions: dict[int, int] = {}
        self.consumer: Consumer | None = None
        self.queue: Queue = self.opened()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def opened(self) -> Queue:
        wanted = Settings(partitions=PARTITIONS, options={"durability": "none"})  # no power is cut here
        return self.run(LogQueue(f"log://{self.folder.name}/t", wanted).open())

    @rule(batch=st.lists(messages, max_size=8))
    def append(self, batch: list[Message]) -> None:
        for given, kept in zip(batch, self.run(self.queue.append(batch)), strict=True):
            assert kept.offset == self.ends[kept.partition]
            assert given.partition in (-1, kept.partition)
            assert (kept.value, kept.key, kept.headers) == (given.value, given.key, given.headers)
            self.lists[kept.partition].append(kept)
            self.ends[kept.partition] += 1

    @rule(partition=st.integers(0, PARTITIONS - 1), offset=st.integers(-1, 60), most=st.integers(0, 30))
    def read(self, partition: int, offset: int, most: int) -> None:
        expected = [message for message in self.lists[partition] if message.offset >= offset][:most]
        assert self.run(self.queue.read(partition, offset, most)) == expected

    @rule(partition=st.integers(0, PARTITIONS - 1), timestamp=st.floats(0, 100))
    def find(self, partition: int, timestamp: float) -> None:
        found = [message.offset for message in self.lists[partition] if message.timestamp >= timestamp]
        assert self.run(self.queue.offset_at(partition, timestamp)) == [*found, self.ends[partition]][0]

    @rule(partition=st.integers(0, PARTITIONS - 1), offset=st.integers(0, 60))
    def trim(self, partition: int, offset: int) -> None:
        kept = [message for message in self.lists[partition] if message.offset >= offset]
        assert self.run(self.queue.trim({partition: offset})) == len(self.lists[partition]) - len(kept)
        self.lists[partition] = kept

    @rule(most=st.integers(1, 30))
    def poll(self, most: int) -> None:
        if self.consumer is None:
            self.consumer = self.queue.consumer("g")
            self.positions = {p: min(c.watermark, self.ends[p]) for p, c in self.commits.items()}
        found = self.run(self.consumer.poll(most, 0))
        expected = self.unread()
        assert len(found) == min(most, sum(map(len, expected)))
        for partition, unread in enumerate(expected):
            of_partition = [message for message in found if message.partition == partition]
            assert of_partition == unread[: len(of_partition)]
            if of_partition:
                self.positions[partition] = of_partition[-1].offset + 1

    def unread(self) -> list[list[Message]]:
        return [[m for m in self.lists[p] if m.offset >= self.positions.get(p, 0)] for p in range(PARTITIONS)]

    @rule(partition=st.integers(0, PARTITIONS - 1), watermark=st.integers(0, 60), beyond=st.sets(st.integers(1, 40)))
    def commit(self, partition: int, watermark: int, beyond: set[int]) -> None:
        commit = Commit(watermark, frozenset(watermark + more for more in beyond))
        if self.consumer is None:
            self.run(self.queue.commit("g", {partition: commit}))
        else:
            self.run(self.consumer.commit({partition: commit}))
        self.commits[partition] = commit

    @rule()
    def leave(self) -> None:
        if self.consumer is not None:
            self.run(self.consumer.close())
            self.consumer = None

    @rule()
    def open_again(self) -> None:
        self.run(self.queue.close())
        self.consumer = None
        self.queue = self.opened()

    @invariant()
    def bounds_and_commits_agree(self) -> None:
        begins = {p: self.lists[p][0].offset if self.lists[p] else self.ends[p] for p in range(PARTITIONS)}
        assert self.run(self.queue.begin_offsets()) == begins
        assert self.run(self.queue.end_offsets()) == dict(enumerate(self.ends))
        assert self.run(self.queue.committed("g")) == self.commits

    def teardown(self) -> None:
        self.run(self.queue.close())
        self.runner.close()
        self.folder.cleanup()


TestLogBesideLists = LogBesideLists.TestCase
TestLogBesideLists.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
