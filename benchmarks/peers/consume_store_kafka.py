"""The topics of consume.py on Kafka, and what groups have committed: `consume_store_kafka.py BROKERS`."""

from __future__ import annotations

import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from consume_orders import PARTITIONS, orders
from line_protocol import serve

BROKERS = {"bootstrap.servers": sys.argv[1]}
TIMEOUT_SECONDS = 30


def fill(count: int, *, topic: str) -> tuple[float, int]:
    """Make a topic with so many messages; answers how many the broker has confirmed."""
    admin = AdminClient(BROKERS)  # without a name it would be gone before its answer
    for made in admin.create_topics([NewTopic(topic, PARTITIONS)]).values():
        made.result(TIMEOUT_SECONDS)
    confirmed = 0

    def delivered(error: object, _: object) -> None:
        nonlocal confirmed
        if error is not None:
            raise KafkaException(error)
        confirmed += 1

    producer = Producer({**BROKERS, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    for number, (key, value) in enumerate(orders(count)):
        producer.produce(topic, value, key, on_delivery=delivered)
        if number % 1_000 == 0:
            producer.poll(0)
    producer.flush(TIMEOUT_SECONDS)
    return 0.0, confirmed


def committed(_: int, *, topic: str, group: str) -> tuple[float, int]:
    """How many messages a group has committed."""
    consumer = Consumer({**BROKERS, "group.id": group})
    try:
        places = consumer.committed([TopicPartition(topic, number) for number in range(PARTITIONS)], TIMEOUT_SECONDS)
    finally:
        consumer.close()
    return 0.0, sum(max(0, place.offset) for place in places)


serve({"fill": fill, "committed": committed})
