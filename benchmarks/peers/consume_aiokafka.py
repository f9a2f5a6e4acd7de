"""aiokafka in a plain loop: `consume_aiokafka.py BROKERS`. FastStream's other broker and Faust stand on it."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiokafka import AIOKafkaConsumer
from consume_protocol import BATCH, COMMIT_SECONDS, Work, answer
from line_protocol import versions_of


async def read(work: Work, topic: str, group: str) -> None:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=sys.argv[1], group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    clock = asyncio.get_running_loop().time
    await consumer.start()
    try:
        due = clock() + COMMIT_SECONDS
        while not work.is_done:
            found = await consumer.getmany(timeout_ms=100, max_records=BATCH)
            for messages in found.values():
                for message in messages:
                    work.do(message.value)
            if clock() >= due:
                await consumer.commit()
                due = clock() + COMMIT_SECONDS
        await consumer.commit()
    finally:
        await consumer.stop()


def consume(work: Work, topic: str, group: str) -> None:
    uvloop.run(read(work, topic, group))


answer(consume, versions_of("aiokafka"))
