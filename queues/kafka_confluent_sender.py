"""Writing to Kafka through confluent-kafka."""

from __future__ import annotations

import threading
from typing import Any

from .kafka_client import Confirmed, Sender, header_list
from .kafka_confluent import KafkaError, KafkaException, RawMessage, RawProducer, Watched, fail, fault_of
from .kafka_errors import KafkaFault
from .message import Message

POLL_SECONDS = 0.1


class ConfluentSender(Sender):
    """Writes; a thread of its own takes the confirmations."""

    def __init__(self, topic: str, settings: dict[str, Any]) -> None:
        self._topic = topic
        self._watched = Watched()
        self._producer = self._watched.made(RawProducer, settings)
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name="kafka-confirm", daemon=True)
        self._thread.start()

    def send(self, message: Message, confirmed: Confirmed) -> None:
        def delivered(error: KafkaError | None, raw: RawMessage) -> None:
            if error is None:
                confirmed(None, raw.partition() or 0, raw.offset() or 0)
            else:
                confirmed(self._watched.login or fault_of(error), -1, -1)

        try:
            self._producer.produce(
                self._topic,
                message.value,
                key=message.key,
                partition=message.partition,
                on_delivery=delivered,
                timestamp=int(message.timestamp * 1000),
                headers=header_list(message) if message.headers else None,
            )
        except BufferError as error:
            raise KafkaFault("full", str(error)) from error
        except KafkaException as error:
            fail(error)

    def _serve(self) -> None:
        while not self._is_closed:
            self._producer.poll(POLL_SECONDS)
            if self._watched.login is not None and len(self._producer):
                self._producer.purge()  # they would wait for their time to be over

    def close(self, timeout_seconds: float) -> None:
        left = self._producer.flush(timeout_seconds)
        if left:
            self._producer.purge()
            self._producer.flush(1.0)
        self._is_closed = True
        self._thread.join(1.0)
