"""LMDB itself: the same group commit (one transaction with fsync for a batch), and nothing else. It wakes nobody."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable

import lmdb
from line_protocol import serve, versions_of
from queue_protocol import Batch, batches, folder

OFFSET = struct.Struct(">Q")


class Producer:
    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment
        self._next = 0

    def append(self, batches: Iterable[Batch]) -> int:
        first = self._next
        for batch in batches:
            with self._environment.begin(write=True) as transaction, transaction.cursor() as cursor:
                pairs = [(OFFSET.pack(self._next + place), key + value) for place, (key, value) in enumerate(batch)]
                cursor.putmulti(pairs, append=True)
            self._next += len(batch)
        return self._next - first


def main() -> None:
    with folder() as directory, lmdb.open(str(directory), map_size=64 << 30) as environment:
        producer = Producer(environment)

        def append(count: int) -> tuple[float, int]:
            start = time.perf_counter()
            done = producer.append(batches(count))
            return time.perf_counter() - start, done

        serve({"append": append}, versions=versions_of("lmdb"))


main()
