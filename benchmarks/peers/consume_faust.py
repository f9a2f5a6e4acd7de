"""Faust (its maintained fork, faust-streaming): `consume_faust.py BROKERS`.

An agent over a topic; it commits every 2.8 s, which is its default.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile

import faust
from consume_protocol import Work, answer
from line_protocol import versions_of


async def read(work: Work, topic: str, group: str, folder: str) -> None:
    app = faust.App(
        group, broker=f"kafka://{sys.argv[1]}", datadir=folder, web_enabled=False, topic_disable_leader=True,
        value_serializer="raw", consumer_auto_offset_reset="earliest",
    )  # fmt: skip
    source = app.topic(topic, value_type=bytes, value_serializer="raw", internal=False)

    @app.agent(source)
    async def handle(values: faust.Stream[bytes]) -> None:
        async for value in values:
            work.do(value)

    app.finalize()
    async with app:
        await asyncio.to_thread(work.wait)


def consume(work: Work, topic: str, group: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(read(work, topic, group, folder))


answer(consume, versions_of("faust-streaming", "aiokafka"))
