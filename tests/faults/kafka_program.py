"""What the Kafka fault tests kill: a producer and a consumer, as programs.

``produce URL CLIENT PREFIX COUNT`` prints the value of each message once it is acknowledged; ``consume URL CLIENT``
prints the values of each batch on one line, then commits it.
"""

from __future__ import annotations

import asyncio
import os
import sys

from millrace.errors import Unavailable
from millrace.queues.address import open_queue
from millrace.queues.base import Commit, Settings
from millrace.queues.message import Message

OPTIONS = {"session_timeout_ms": 1_500, "heartbeat_interval_ms": 200, "delivery_timeout_ms": 30_000}
BATCH = 100
GROUP = "readers"


def settings(client: str) -> Settings:
    return Settings(partitions=4, options={"client": client, **OPTIONS})


async def produce(url: str, client: str, prefix: str, count: int) -> None:
    async with await open_queue(url, settings(client)) as queue:
        for start in range(0, count, 20):
            numbers = range(start, min(start + 20, count))
            await queue.append([Message(f"{prefix}:{n}".encode(), b"%d" % (n % 97)) for n in numbers])
            os.write(1, "".join(f"{prefix}:{n}\n" for n in numbers).encode())


async def consume(url: str, client: str) -> None:
    async with await open_queue(url, settings(client)) as queue, queue.consumer(GROUP) as consumer:
        while True:
            messages = await consumer.poll(BATCH)
            if messages:
                os.write(1, b" ".join(message.value for message in messages) + b"\n")
                try:
                    await consumer.commit({message.partition: Commit(message.offset + 1) for message in messages})
                except Unavailable as error:  # the broker is down: the next commit says more
                    print(error, file=sys.stderr)


if __name__ == "__main__":
    kind, url, client, *rest = sys.argv[1:]
    asyncio.run(produce(url, client, rest[0], int(rest[1])) if kind == "produce" else consume(url, client))
