"""FastStream: `consume_faststream.py confluent-kafka | aiokafka single | batch BROKERS`.

As lean as it documents: no dependency injection and no validation, the decoder hands the bytes over, and the broker
commits by itself every 5 s (its default, at most once; to acknowledge after the handler costs a commit a message).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from typing import Any

import uvloop
from consume_protocol import BATCH, LIBRDKAFKA, Work, answer
from line_protocol import versions_of

CLIENT, WAY, BROKERS = sys.argv[1:]
MODULES = {"confluent-kafka": "faststream.confluent", "aiokafka": "faststream.kafka"}
KafkaBroker = importlib.import_module(MODULES[CLIENT]).KafkaBroker


async def undecoded(message: Any) -> Any:
    """The bytes of a message, or of a batch."""
    return message.body


def subscribe(broker: Any, work: Work, topic: str, group: str) -> None:
    """The handler of one message at a time, or of a batch."""
    settings = {"group_id": group, "auto_offset_reset": "earliest", "decoder": undecoded}
    if WAY == "batch":

        @broker.subscriber(topic, batch=True, max_records=BATCH, **settings)
        async def handle_all(values: list[bytes]) -> None:
            for value in values:
                work.do(value)

    else:

        @broker.subscriber(topic, **settings)
        async def handle(value: bytes) -> None:
            work.do(value)


async def read(work: Work, topic: str, group: str) -> None:
    settings = {"config": LIBRDKAFKA} if CLIENT == "confluent-kafka" else {}
    broker = KafkaBroker(BROKERS, apply_types=False, log_level=logging.DEBUG, **settings)
    subscribe(broker, work, topic, group)
    await broker.start()
    try:
        await asyncio.to_thread(work.wait)
    finally:
        await broker.stop()


def consume(work: Work, topic: str, group: str) -> None:
    uvloop.run(read(work, topic, group))


answer(consume, versions_of("faststream", CLIENT))
