"""Transactions through kafka-python."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

from .kafka_client import Offsets, Transactor, header_list
from .kafka_errors import KafkaFault
from .kafka_python import KafkaProducer, errors, fault_of, made, places_of
from .message import Message

log = logging.getLogger(__name__)
FENCED = ("ProducerFencedError", "InvalidProducerEpochError", "InvalidProducerIdMappingError")


class PythonTransactor(Transactor):
    """A producer with a transactional id, for one source.

    :param topic: where the offsets that it commits belong
    """

    def __init__(self, topic: str, settings: dict[str, Any]) -> None:
        self._topic = topic
        self._producer = made(KafkaProducer, settings)
        try:
            self._producer.init_transactions()
        except errors.KafkaError as error:
            self.close()
            stop(error)


    def begin(self) -> None:
        try:
            self._producer.begin_transaction()
        except errors.KafkaError as error:
            stop(error)

    def send(self, topic: str, message: Message) -> None:
        try:
            self._producer.send(
                topic,
                value=message.value,
                key=message.key,
                headers=header_list(message) if message.headers else None,
                partition=message.partition if message.partition >= 0 else None,
                timestamp_ms=int(message.timestamp * 1000),
            )
        except (errors.KafkaError, ValueError, AssertionError) as error:
            stop(error)

    def commit(self, offsets: Offsets, membership: Any) -> None:
        try:
            if offsets:
                self._producer.send_offsets_to_transaction(places_of(self._topic, offsets), membership)
            self._producer.commit_transaction()
        except errors.KafkaError as error:
            stop(error)

    def abort(self) -> None:
        try:
            self._producer.abort_transaction()
        except errors.KafkaError as error:
            stop(error)

    def close(self) -> None:
        try:
            self._producer.close(timeout=1)
        except errors.KafkaError as error:  # what it left open is aborted by the broker
            log.info("a transactional producer did not close in time: %s", error)


def stop(error: Exception) -> NoReturn:
    """Raise an error of the client; what came before, and why, is only in the words of those that follow."""
    fault = fault_of(error)
    if any(name in fault.detail for name in FENCED):
        raise KafkaFault("fenced", fault.detail) from error
    raise fault from error
