"""What the peers of consume.py share: the three steps, the clock around them, and the protocol.

A peer consumes so many messages of a topic in a group that is new, and answers with the seconds and with the sum that
the steps found. The clock runs from the end of the warm-up (a twentieth of the messages) to the last message, so that
joining the group and leaving it are not counted. Commits that happen meanwhile are; the last one is checked afterwards
by the benchmark.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
from line_protocol import serve

WARM_UP_SHARE = 20
PATIENCE_SECONDS = 60
COMMIT_SECONDS = 0.1  # what a stream of Millrace has when nothing else is said; the raw loops do the same
BATCH = 500
LIBRDKAFKA = {"fetch.queue.backoff.ms": 5}
"""What Millrace sets, for all that stand on librdkafka: with the default it stops fetching for a whole second whenever
100,000 messages are read ahead, and then it is that pause which is measured."""

Consume = Callable[["Work", str, str], None]


class Work:
    """The three steps for so many messages.

    :ivar cents: what the steps found, to be compared with what was sent
    :ivar seconds: between the end of the warm-up and the last message
    :ivar cpu_seconds: of all threads of this process, meanwhile
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.seen = 0
        self.cents = 0
        self.seconds = self.cpu_seconds = 0.0
        self._next_mark = max(1, count // WARM_UP_SHARE)
        self._done = threading.Event()

    def parse(self, value: bytes) -> dict[str, Any]:
        """The first step."""
        order: dict[str, Any] = orjson.loads(value)
        return order

    def change(self, order: dict[str, Any]) -> dict[str, Any]:
        """The second step."""
        order["total"] = order["cents"] * order["pieces"]
        return order

    def check(self, order: dict[str, Any]) -> dict[str, Any]:
        """The third step; it also counts."""
        total = order["total"]
        if total < 0:
            raise ValueError(f"order {order['id']} is worth {total} cents")
        self.cents += total
        self.seen += 1
        if self.seen == self._next_mark:
            self._mark()
        return order

    def do(self, value: bytes) -> None:
        """All three, as a plain loop calls them."""
        self.check(self.change(self.parse(value)))

    def _mark(self) -> None:
        now, cpu = time.perf_counter(), time.process_time()
        if self.seen < self.count:
            self._began, self._cpu_began, self._next_mark = now, cpu, self.count
            return
        self.seconds, self.cpu_seconds = now - self._began, cpu - self._cpu_began
        self._done.set()

    @property
    def is_done(self) -> bool:
        """Whether the last message has come."""
        return self.seen >= self.count

    @property
    def measured(self) -> int:
        """How many messages the clock saw."""
        return self.count - max(1, self.count // WARM_UP_SHARE)

    def wait(self) -> None:
        """Until the last message has come.

        :raises TimeoutError: it does not
        """
        if not self._done.wait(PATIENCE_SECONDS):
            raise TimeoutError(f"{self.seen} of {self.count} messages within {PATIENCE_SECONDS} s")


class Commits:
    """Commits now and then, as a loop goes round; the first time so long after the first messages.

    :param commit: confirms when it returns
    """

    def __init__(self, commit: Callable[[], object]) -> None:
        self._commit = commit
        self._at = 0.0
        self._is_due = False

    def perhaps(self) -> None:
        """When it is time again. Called when there are messages to commit."""
        now = time.monotonic()
        self._is_due = True
        if now >= self._at:
            if self._at:
                self.rest()
            self._at = time.monotonic() + COMMIT_SECONDS

    def rest(self) -> None:
        """What is not committed yet."""
        if self._is_due:
            self._commit()
            self._is_due = False


def answer(consume: Consume, versions: dict[str, str]) -> None:
    """Serve the benchmark.

    :param consume: called with the work, the topic and the group; returns when all is done and committed
    """
    last: list[Work] = []

    def consumed(count: int, *, topic: str, group: str) -> tuple[float, int]:
        last[:] = [work := Work(count)]
        consume(work, topic, group)
        return work.seconds / work.measured, work.cents

    def cpu(_: int) -> tuple[float, None]:
        """Of the last run, in the seconds of a message."""
        return last[0].cpu_seconds / last[0].measured, None

    serve({"consume": consumed, "cpu": cpu}, versions=versions)
