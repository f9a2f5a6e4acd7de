"""The topics of consume.py in embedded logs, and what groups have committed: `consume_store_log.py FOLDER`."""

from __future__ import annotations

import asyncio
import sys

from consume_orders import PARTITIONS, orders
from line_protocol import serve

from millrace.queues import Message, Settings, open_queue

BATCH = 5_000
URL = f"log://{sys.argv[1]}"


async def append(topic: str, count: int) -> int:
    messages = [Message(value, key) for key, value in orders(count)]
    done = 0
    async with await open_queue(f"{URL}/{topic}", Settings(partitions=PARTITIONS)) as queue:
        for first in range(0, count, BATCH):
            done += len(await queue.append(messages[first : first + BATCH]))
    return done


async def watermarks(topic: str, group: str) -> int:
    async with await open_queue(f"{URL}/{topic}") as queue:
        return sum(commit.watermark for commit in (await queue.committed(group)).values())


def fill(count: int, *, topic: str) -> tuple[float, int]:
    """Make a topic with so many messages; answers how many are durable."""
    return 0.0, asyncio.run(append(topic, count))


def committed(_: int, *, topic: str, group: str) -> tuple[float, int]:
    """How many messages a group has committed."""
    return 0.0, asyncio.run(watermarks(topic, group))


serve({"fill": fill, "committed": committed})
