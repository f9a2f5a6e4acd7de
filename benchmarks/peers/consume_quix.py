"""Quix Streams: `consume_quix.py BROKERS`. Three functions on a StreamingDataFrame; commits every 5 s, its default."""

from __future__ import annotations

import sys
import tempfile

from consume_protocol import LIBRDKAFKA, Work, answer
from line_protocol import versions_of
from quixstreams import Application


def consume(work: Work, topic: str, group: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        application = Application(
            broker_address=sys.argv[1], consumer_group=group, auto_offset_reset="earliest", auto_create_topics=False,
            use_changelog_topics=False, state_dir=folder, loglevel="WARNING",
            consumer_extra_config=LIBRDKAFKA,
        )  # fmt: skip
        orders = application.dataframe(application.topic(topic, value_deserializer="bytes"))
        orders.apply(work.parse).apply(work.change).apply(work.check)
        application.run(count=work.count)
    work.wait()


answer(consume, versions_of("quixstreams", "confluent-kafka"))
