"""kafka-python in a plain loop: `consume_kafka_python.py BROKERS`."""

from __future__ import annotations

import sys

from consume_protocol import BATCH, Commits, Work, answer
from kafka import KafkaConsumer
from line_protocol import versions_of


def consume(work: Work, topic: str, group: str) -> None:
    consumer = KafkaConsumer(
        topic, bootstrap_servers=sys.argv[1], group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    commits = Commits(consumer.commit)
    try:
        while not work.is_done:
            found = consumer.poll(timeout_ms=100, max_records=BATCH)
            for messages in found.values():
                for message in messages:
                    work.do(message.value)
            if found:
                commits.perhaps()
        commits.rest()
    finally:
        consumer.close(autocommit=False)


answer(consume, versions_of("kafka-python", "crc32c"))
