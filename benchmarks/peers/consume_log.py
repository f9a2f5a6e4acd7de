"""The embedded log without door and graph: its own consumer in a plain loop, `consume_log.py FOLDER`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

import uvloop
from consume_protocol import BATCH, COMMIT_SECONDS, Work, answer
from line_protocol import versions_of

from millrace.queues import Commit, Consumer, open_queue


async def commit(consumer: Consumer, ends: Mapping[int, int]) -> None:
    """Commit what was done."""
    await consumer.commit({partition: Commit(end) for partition, end in ends.items()})


async def read(work: Work, topic: str, group: str) -> None:
    clock = asyncio.get_running_loop().time
    async with await open_queue(f"log://{sys.argv[1]}/{topic}") as queue, queue.consumer(group) as consumer:
        ends: dict[int, int] = {}
        due = clock() + COMMIT_SECONDS
        while not work.is_done:
            for message in await consumer.poll(BATCH):
                work.do(message.value)
                ends[message.partition] = message.offset + 1
            if clock() >= due:
                await commit(consumer, ends)
                due = clock() + COMMIT_SECONDS
        await commit(consumer, ends)


def consume(work: Work, topic: str, group: str) -> None:
    uvloop.run(read(work, topic, group))


answer(consume, versions_of("millrace", "lmdb"))
