"""Transactions through confluent-kafka."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from .kafka_client import Offsets, Transactor, header_list
from .kafka_confluent import KafkaException, RawProducer, Watched, fail, places_of
from .kafka_errors import KafkaFault
from .message import Message

RETRY_SECONDS = 0.1
GRACE_SECONDS = 2.0


class ConfluentTransactor(Transactor):
    """A producer with a transactional id, for one source.

    :param topic: where the offsets that it commits belong
    :param seconds: how long each step may take
    """

    def __init__(self, topic: str, settings: dict[str, Any], seconds: float) -> None:
        self._topic, self._seconds = topic, seconds
        self._is_stuck = False
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

    def _bounded(self, step: Callable[..., None], *arguments: Any) -> None:
        """One step that may never return: this transactor is of no use then, and is left to its fate.

        librdkafka 2.16 keeps no timeout where the group's coordinator went away and came back:
        https://github.com/confluentinc/librdkafka/issues/5456
        """
        ended: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

        def run() -> None:
            try:
                step(*arguments)
            except Exception as error:
                ended.put(error)
            else:
                ended.put(None)

        threading.Thread(target=run, name="kafka-offsets", daemon=True).start()
        try:
            error = ended.get(timeout=self._seconds + GRACE_SECONDS)
        except queue.Empty:
            self._is_stuck = True
            raise KafkaFault("unreachable", f"the group's coordinator did not answer in {self._seconds:g} s") from None
        if error is not None:
            raise error

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
            send_offsets = self._producer.send_offsets_to_transaction
            self._retried(self._bounded, send_offsets, places, membership, self._seconds)
        self._retried(self._producer.commit_transaction, self._seconds)

    def abort(self) -> None:
        if self._is_stuck:
            return  # the broker aborts it when another producer takes the name
        self._producer.purge()
        self._retried(self._producer.abort_transaction, self._seconds)

    def close(self) -> None:
        if self._is_stuck:
            return
        self._producer.purge()
