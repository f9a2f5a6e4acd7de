"""What the peers of queues.py share: one producer, two consumer processes, and the three questions asked of them.

A peer's script is run in two ways: `SCRIPT …` answers the benchmark, and starts `SCRIPT … consume ADDRESS` twice. A
consumer prints "ready" when it has its share, and then, for every batch, how many messages it got and how many
nanoseconds ago the last of them was sent.
"""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from line_protocol import serve

BATCH = 500
CONSUMERS = 2
PARTITIONS = 2
KEYS = [b"key-%d" % number for number in range(64)]
STAMP = struct.Struct("<Q")
PADDING = bytes(192)  # a message has 200 bytes
PATIENCE_SECONDS = 60
COMMIT_SECONDS = 1.0
DATA = Path(__file__).resolve().parents[2] / ".bench"

Batch = list[tuple[bytes, bytes]]


class Producer(Protocol):
    """The writing end of a peer."""

    def append(self, batches: Iterable[Batch]) -> int:
        """Append batches of (key, value), each confirmed as durable before the next; answers how many messages."""


def stamped() -> bytes:
    """A message that says when it was made. Linux has one monotonic clock for all processes."""
    return STAMP.pack(time.monotonic_ns()) + PADDING


def batches(count: int) -> Iterator[Batch]:
    """So many messages."""
    value = stamped()
    for first in range(0, count, BATCH):
        yield [(KEYS[number % len(KEYS)], value) for number in range(first, min(count, first + BATCH))]


class Consumers:
    """Two processes that read."""

    def __init__(self, address: str) -> None:
        command = [sys.executable, *sys.argv, "consume", address]
        self._processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(CONSUMERS)]
        self._selector = selectors.DefaultSelector()
        self._unread = {process.stdout.fileno(): b"" for process in self._processes}
        for number in self._unread:
            self._selector.register(number, selectors.EVENT_READ)
        ready = 0
        while ready < CONSUMERS:
            ready += sum(line == "ready" for line in self._lines())

    def _lines(self) -> list[str]:
        """What the consumers say next."""
        lines: list[str] = []
        for key, _ in self._selector.select(PATIENCE_SECONDS):
            arrived = os.read(key.fd, 65536)
            if not arrived:
                raise RuntimeError("a consumer has ended")
            *whole, self._unread[key.fd] = (self._unread[key.fd] + arrived).split(b"\n")
            lines += [line.decode() for line in whole]
        if not lines and not any(self._unread.values()):
            raise RuntimeError(f"the consumers got nothing within {PATIENCE_SECONDS} s")
        return lines

    def take(self, count: int) -> int:
        """Wait until they got so many; answers the nanoseconds that the last one was under way."""
        got = latency = 0
        while got < count:
            for line in self._lines():
                if line != "ready":  # said again after a rebalance
                    many, ago = map(int, line.split())
                    got, latency = got + many, ago
        if got != count:
            raise RuntimeError(f"the consumers got {got} messages of {count}")
        return latency

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


class Questions:
    """Append, read and wake-up, of one peer."""

    def __init__(self, producer: Producer, address: str, *, alone: Producer) -> None:
        self._producer, self._address, self._alone = producer, address, alone
        self._consumers: Consumers | None = None

    def _reading(self) -> Consumers:
        self._consumers = self._consumers or Consumers(self._address)
        return self._consumers

    def append(self, count: int) -> tuple[float, int]:
        """Seconds to append, while nobody reads."""
        start = time.perf_counter()
        done = self._alone.append(batches(count))
        return time.perf_counter() - start, done

    def read(self, count: int) -> tuple[float, int]:
        """Seconds from the first append until two consumers have all."""
        consumers = self._reading()
        start = time.perf_counter()
        done = self._producer.append(batches(count))
        consumers.take(count)
        return time.perf_counter() - start, done

    def p50(self, count: int) -> tuple[float, int]:
        """The median of the time from an append to the consumer's process, for the runner times the count."""
        return statistics.median(self._latencies(count)) * count, count

    def p99(self, count: int) -> tuple[float, int]:
        latencies = sorted(self._latencies(count))
        return latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)] * count, count

    def _latencies(self, count: int) -> list[float]:
        consumers = self._reading()
        found = []
        for number in range(count):
            time.sleep(random.uniform(0.001, 0.003))  # until the consumers wait again
            self._producer.append([[(KEYS[number % len(KEYS)], stamped())]])
            found.append(consumers.take(1) / 1e9)
        return found

    def answer(self, versions: dict[str, str]) -> None:
        """Serve the benchmark."""
        modes = {"append": self.append, "read": self.read, "wake-up p50": self.p50, "wake-up p99": self.p99}
        try:
            serve(modes, versions=versions)
        finally:
            if self._consumers is not None:
                self._consumers.close()


def say_ready() -> None:
    """A consumer has its share."""
    print("ready", flush=True)


def say_got(count: int, last: bytes) -> None:
    """A consumer got a batch."""
    print(count, time.monotonic_ns() - STAMP.unpack_from(last)[0], flush=True)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder on the disk of the repository (a temporary one may be in memory, where fsync costs nothing)."""
    DATA.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="queue-", dir=DATA))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
