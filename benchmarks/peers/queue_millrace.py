"""Millrace's queues: `queue_millrace.py log` or `queue_millrace.py kafka BROKERS CLIENT`."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Iterable, Mapping

from line_protocol import versions_of
from queue_protocol import COMMIT_SECONDS, PARTITIONS, Batch, Questions, folder, say_got, say_ready

from millrace.queues import Commit, Message, Queue, Settings, queue_at


def settings(kind: str, client: str) -> Settings:
    return Settings(partitions=PARTITIONS, options={} if kind == "log" else {"client": client})


class Producer:
    """Appends on a loop of its own."""

    def __init__(self, runner: asyncio.Runner, queue: Queue) -> None:
        self._runner, self._queue = runner, queue

    def append(self, batches: Iterable[Batch]) -> int:
        return self._runner.run(self._append(batches))

    async def _append(self, batches: Iterable[Batch]) -> int:
        done = 0
        for batch in batches:
            done += len(await self._queue.append([Message(value, key) for key, value in batch]))
        return done


async def consume(queue: Queue) -> None:
    async def assigned(_: Mapping[int, Commit]) -> None:
        say_ready()

    committed = time.monotonic()
    async with queue, queue.consumer("readers", on_assigned=assigned) as consumer:
        while True:
            messages = await consumer.poll()
            if messages:
                say_got(len(messages), messages[-1].value)
            if messages and time.monotonic() - committed > COMMIT_SECONDS:
                await consumer.commit({message.partition: Commit(message.offset + 1) for message in messages})
                committed = time.monotonic()


def main(kind: str, brokers: str = "", client: str = "") -> None:
    package = {"": "lmdb", "kafka-python": "kafka-python", "confluent-kafka": "confluent-kafka"}[client]
    with folder() as directory, asyncio.Runner() as runner:
        name = uuid.uuid4().hex
        addresses = [
            f"log://{directory}/{topic}" if kind == "log" else f"kafka://{brokers}/bench-{name}-{topic}"
            for topic in ("read", "append")
        ]
        queues = [queue_at(address, settings(kind, client)) for address in addresses]
        for queue in queues:
            runner.run(queue.open())
        read, alone = (Producer(runner, queue) for queue in queues)
        alone.append([[(b"", b"the first message of a producer waits half a second in librdkafka")]])
        Questions(read, addresses[0], alone=alone).answer(versions_of("millrace", package))
        for queue in queues:
            runner.run(queue.close())


if __name__ == "__main__":
    if "consume" in sys.argv:
        kind, *rest = sys.argv[1 : sys.argv.index("consume")]
        asyncio.run(consume(queue_at(sys.argv[-1], settings(kind, rest[1] if rest else ""))))
    else:
        main(*sys.argv[1:])
