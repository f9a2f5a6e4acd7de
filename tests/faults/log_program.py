"""What the fault tests kill: a producer and a consumer of an embedded log, as programs.

``produce URL PREFIX COUNT`` prints the number of each message once it is acknowledged; ``consume URL BATCH`` prints the
values of each batch on one line, then commits it.
"""

from __future__ import annotations

import asyncio
import os
import sys

from millrace.queues.address import open_queue
from millrace.queues.base import Commit, Settings
from millrace.queues.message import Message

OPTIONS = {"lease_timeout_seconds": 1.0}
LANES = 4


async def produce(url: str, prefix: str, count: int) -> None:
    async with await open_queue(url, Settings(options=OPTIONS)) as queue:

        async def lane(first: int) -> None:
            for start in range(first, count, LANES * 10):
                numbers = range(start, min(start + LANES * 10, count), LANES)
                await queue.append([Message(f"{prefix}:{n}".encode(), b"%d" % (n % 97)) for n in numbers])
                os.write(1, "".join(f"{prefix}:{n}\n" for n in numbers).encode())

        await asyncio.gather(*(lane(first) for first in range(LANES)))


async def consume(url: str, batch: int) -> None:
    async with await open_queue(url, Settings(options=OPTIONS)) as queue, queue.consumer("g") as consumer:
        while True:
            messages = await consumer.poll(batch)
            if messages:
                os.write(1, b" ".join(message.value for message in messages) + b"\n")
                await consumer.commit({message.partition: Commit(message.offset + 1) for message in messages})


if __name__ == "__main__":
    if sys.argv[1] == "produce":
        asyncio.run(produce(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    else:
        asyncio.run(consume(sys.argv[2], int(sys.argv[3])))
