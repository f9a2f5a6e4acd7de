"""confluent-kafka by itself: `queue_confluent.py BROKERS`. An idempotent producer, flushed after each batch."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import Producer as RawProducer
from confluent_kafka.admin import AdminClient, NewTopic
from line_protocol import versions_of
from queue_protocol import BATCH, PARTITIONS, Batch, Questions, say_got, say_ready


class Producer:
    def __init__(self, brokers: str, topic: str) -> None:
        self._producer = RawProducer({"bootstrap.servers": brokers, "enable.idempotence": True, "linger.ms": 0})
        self._topic = topic
        self._confirmed = 0

    def append(self, batches: Iterable[Batch]) -> int:
        self._confirmed = 0
        for batch in batches:
            for key, value in batch:
                self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
            self._producer.flush()
        return self._confirmed

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            raise KafkaException(error)
        self._confirmed += 1


def consume(brokers: str, topic: str) -> None:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic], on_assign=lambda *_: say_ready())
    while True:
        first = consumer.poll(1.0)
        if first is not None and first.error() is None:
            messages = [first, *consumer.consume(BATCH - 1, 0)]
            say_got(len(messages), messages[-1].value())


def main(brokers: str) -> None:
    topics = [f"bench-{uuid.uuid4().hex}" for _ in range(2)]
    admin = AdminClient({"bootstrap.servers": brokers})
    for future in admin.create_topics([NewTopic(topic, PARTITIONS) for topic in topics]).values():
        future.result()
    read, alone = (Producer(brokers, topic) for topic in topics)
    Questions(read, topics[0], alone=alone).answer(versions_of("confluent-kafka"))


if __name__ == "__main__":
    if "consume" in sys.argv:
        consume(sys.argv[1], sys.argv[-1])
    else:
        main(sys.argv[1])
