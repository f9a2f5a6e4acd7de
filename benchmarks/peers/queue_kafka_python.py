"""kafka-python by itself: `queue_kafka_python.py BROKERS`. An idempotent producer, flushed after each batch."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterable

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient
from line_protocol import versions_of
from queue_protocol import BATCH, PARTITIONS, Batch, Questions, say_got, say_ready


class Producer:
    def __init__(self, brokers: str, topic: str) -> None:
        self._producer = KafkaProducer(bootstrap_servers=brokers, enable_idempotence=True, acks="all", linger_ms=0)
        self._topic = topic

    def append(self, batches: Iterable[Batch]) -> int:
        done = 0
        for batch in batches:
            futures = [self._producer.send(self._topic, value, key) for key, value in batch]
            self._producer.flush()
            done += sum(future.succeeded() for future in futures)
        return done


class Ready(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked: object) -> None:
        pass

    def on_partitions_assigned(self, assigned: object) -> None:
        say_ready()


def consume(brokers: str, topic: str) -> None:
    consumer = KafkaConsumer(bootstrap_servers=brokers, group_id=topic, auto_offset_reset="earliest")
    consumer.subscribe([topic], listener=Ready())
    while True:
        for messages in consumer.poll(timeout_ms=1_000, max_records=BATCH).values():
            say_got(len(messages), messages[-1].value)


def main(brokers: str) -> None:
    topics = [f"bench-{uuid.uuid4().hex}" for _ in range(2)]
    admin = KafkaAdminClient(bootstrap_servers=brokers)
    admin.create_topics({topic: {"num_partitions": PARTITIONS, "replication_factor": 1} for topic in topics})
    admin.wait_for_topics(topics)
    read, alone = (Producer(brokers, topic) for topic in topics)
    Questions(read, topics[0], alone=alone).answer(versions_of("kafka-python"))


if __name__ == "__main__":
    if "consume" in sys.argv:
        consume(sys.argv[1], sys.argv[-1])
    else:
        main(sys.argv[1])
