"""Transactions through confluent-kafka."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .kafka_client import Offsets, Transactor, header_list
from .kafka_confluent import KafkaException, RawProducer, Watched, fail, places_of
from .kafka_errors import KafkaFault
from .message import Message

RETRY_SECONDS = 0.1


class ConfluentTransactor(Transactor):
    """A producer with a transactional id, for one source.

    :param topic: where the offsets that it commits belong
    :param seconds: how long each step may take
    """

    def __init__(self, topic: str, settings: dict[str, Any], seconds: float) -> None:
        self._topic, self._seconds = topic, seconds
        self._producer = Watched().made(RawProducer, settings)
        self._retried(self._producer.init_transactions, seconds)

    def _retried(self, step: Callable[..., None], *arguments: Any) -> None:
        """One step; librdkafka says which errors pass when it is done again."""
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                return step(*arguments)
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    fail(error)
                time.sleep(RETRY_SECONDS)

    def begin(self) -> None:
        self._retried(self._producer.begin_transaction)

    def send(self, topic: str, message: Message) -> None:
        try:
            self._producer.produce(
                topic,
                message.value,
                key=message.key,
                partition=message.partition,
                timestamp=int(message.timestamp * 1000),
                headers=header_list(message) if message.headers else None,
            )
        except BufferError as error:
            raise KafkaFault("full", str(error)) from error
        except KafkaException as error:
            fail(error)

    def commit(self, offsets: Offsets, membership: Any) -> None:
        if offsets:
            places = places_of(self._topic, offsets)
            self._retried(self._producer.send_offsets_to_transaction, places, membership, self._seconds)
        self._retried(self._producer.commit_transaction, self._seconds)

    def abort(self) -> None:
        self._producer.purge()
        self._retried(self._producer.abort_transaction, self._seconds)

    def close(self) -> None:
        self._producer.purge()
