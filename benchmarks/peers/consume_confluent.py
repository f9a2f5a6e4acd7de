"""confluent-kafka in a plain loop: `consume_confluent.py consume | poll BROKERS [defaults]`."""

from __future__ import annotations

import sys

from confluent_kafka import Consumer, KafkaException
from consume_protocol import BATCH, LIBRDKAFKA, Commits, Work, answer
from line_protocol import versions_of

WAY, BROKERS, *DEFAULTS = sys.argv[1:]
WAIT_SECONDS = 0.1


def in_batches(work: Work, consumer: Consumer, commits: Commits) -> None:
    while not work.is_done:
        messages = consumer.consume(BATCH, WAIT_SECONDS)
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            work.do(message.value())
        if messages:
            commits.perhaps()


def one_by_one(work: Work, consumer: Consumer, commits: Commits) -> None:
    while not work.is_done:
        message = consumer.poll(WAIT_SECONDS)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        work.do(message.value())
        commits.perhaps()


def consume(work: Work, topic: str, group: str) -> None:
    settings = {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": BROKERS, **settings, **({} if DEFAULTS else LIBRDKAFKA)})
    consumer.subscribe([topic])
    try:
        commits = Commits(lambda: consumer.commit(asynchronous=False))
        (in_batches if WAY == "consume" else one_by_one)(work, consumer, commits)
        commits.rest()
    finally:
        consumer.close()


answer(consume, versions_of("confluent-kafka"))
