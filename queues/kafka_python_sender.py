"""Writing to Kafka through kafka-python."""

from __future__ import annotations

from typing import Any

from .kafka_client import Confirmed, Sender, header_list
from .kafka_errors import KafkaFault
from .kafka_python import KafkaProducer, errors, fail, fault_of, made
from .message import Message


class PythonSender(Sender):
    """Writes."""

    def __init__(self, topic: str, settings: dict[str, Any]) -> None:
        self._topic = topic
        self._producer = made(KafkaProducer, settings)

    def send(self, message: Message, confirmed: Confirmed) -> None:
        try:
            future = self._producer.send(
                self._topic,
                value=message.value,
                key=message.key,
                headers=header_list(message) if message.headers else None,
                partition=message.partition if message.partition >= 0 else None,
                timestamp_ms=int(message.timestamp * 1000),
            )
        except (errors.KafkaError, ValueError, AssertionError) as error:
            fail(error)
        future.add_callback(lambda place: confirmed(None, place.partition, place.offset))
        future.add_errback(lambda error: confirmed(unconfirmed(error), -1, -1))

    def close(self, timeout_seconds: float) -> None:
        try:
            self._producer.close(timeout=timeout_seconds)
        except errors.KafkaError as error:
            fail(error)


def unconfirmed(error: Exception) -> KafkaFault:
    """The fault of a message that was handed over."""
    fault = fault_of(error)
    return KafkaFault("unconfirmed", fault.detail) if fault.kind == "unreachable" else fault
