"""What the Kafka fault tests kill: a producer and a consumer, as programs.

``produce URL CLIENT PREFIX COUNT`` prints the value of each message once it is acknowledged; ``consume URL CLIENT``
prints the values of each batch on one line, then commits it; ``move URL CLIENT TARGET`` copies each batch to another
topic in a transaction, and prints the values then.
"""

from __future__ import annotations

import asyncio
import os
import sys

from millrace.errors import Unavailable
from millrace.queues.address import open_queue
from millrace.queues.base import Commit, Consumer, Settings
from millrace.queues.kafka_queue import KafkaQueue
from millrace.queues.message import Message

OPTIONS = {"session_timeout_ms": 1_500, "heartbeat_interval_ms": 200, "delivery_timeout_ms": 30_000}
BATCH = 100


def settings(client: str, **options: object) -> Settings:
    return Settings(partitions=4, options={"client": client, **OPTIONS, **options})


def group_of(url: str) -> str:
    return f"readers-of-{url.rpartition('/')[2]}"


def line_of(messages: list[Message]) -> bytes:
    return b" ".join(message.value for message in messages) + b"\n"


def done(messages: list[Message]) -> dict[int, Commit]:
    return {message.partition: Commit(message.offset + 1) for message in messages}


async def produce(url: str, client: str, prefix: str, count: int) -> None:
    async with await open_queue(url, settings(client)) as queue:
        for start in range(0, count, 20):
            numbers = range(start, min(start + 20, count))
            await queue.append([Message(f"{prefix}:{n}".encode(), b"%d" % (n % 97)) for n in numbers])
            os.write(1, "".join(f"{prefix}:{n}\n" for n in numbers).encode())


async def consume(url: str, client: str) -> None:
    async with await open_queue(url, settings(client)) as queue, queue.consumer(group_of(url)) as consumer:
        while True:
            messages = await polled(consumer)
            if messages:
                os.write(1, line_of(messages))
                await committed(consumer, messages)


async def polled(consumer: Consumer) -> list[Message]:
    try:
        return await consumer.poll(BATCH)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return []


async def committed(consumer: Consumer, messages: list[Message]) -> None:
    """Commit, as soon as the brokers take it: what is done meanwhile would be repeated."""
    while True:
        try:
            return await consumer.commit(done(messages))
        except Unavailable as error:
            print(error, file=sys.stderr)
            await asyncio.sleep(0.2)


async def move(url: str, client: str, target_url: str) -> None:
    mover = settings(client, transactional_id="mover")
    async with await open_queue(url, mover) as queue, await open_queue(target_url, settings(client)) as target:
        assert isinstance(queue, KafkaQueue)
        async with queue.consumer(group_of(url)) as consumer:
            while True:
                messages = await consumer.poll(BATCH)
                if messages:
                    async with queue.transaction(consumer, done(messages)) as transaction:
                        await transaction.append(target, [Message(m.value, m.key) for m in messages])
                    os.write(1, line_of(messages))


if __name__ == "__main__":
    kind, url, client, *rest = sys.argv[1:]
    if kind == "produce":
        asyncio.run(produce(url, client, rest[0], int(rest[1])))
    else:
        asyncio.run(consume(url, client) if kind == "consume" else move(url, client, rest[0]))
