"""The parts of a Kafka client on confluent-kafka, with the user's options in librdkafka's names."""

from __future__ import annotations

from typing import Any

from .kafka_address import KafkaAddress
from .kafka_client import Client, Cluster, Member, Rebalance, Sender, Transactor
from .kafka_confluent_cluster import ConfluentCluster
from .kafka_confluent_member import ConfluentMember
from .kafka_confluent_sender import ConfluentSender
from .kafka_confluent_transactor import ConfluentTransactor
from .kafka_errors import KafkaFault
from .kafka_options import CLIENT, KafkaOptions, Role


class ConfluentClient(Client):
    """Makes the parts on librdkafka. Each refuses an option that has no meaning for it, or a value."""

    def __init__(self, address: KafkaAddress, options: KafkaOptions) -> None:
        self._address, self._options = address, options

    def cluster(self) -> Cluster:
        return ConfluentCluster(self._address.topic, self._options, self._settings("connection"), self._reading)

    def sender(self) -> Sender:
        return ConfluentSender(self._address.topic, self._writing("connection", "producer"))

    def transactor(self, name: str) -> Transactor:
        settings = {**self._writing("connection", "producer", "transaction"), "transactional.id": name}
        timeouts = "delivery.timeout.ms", "transaction.timeout.ms"
        settings[timeouts[0]] = min(settings[one] for one in timeouts)
        return ConfluentTransactor(self._address.topic, settings, self._options.connect_timeout_seconds)

    def member(self, group: str, rebalance: Rebalance) -> Member:
        return ConfluentMember(self._address.topic, {**self._reading(), "group.id": group}, rebalance)

    def _writing(self, *roles: Role) -> dict[str, Any]:
        return {
            **self._settings(*roles),
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",  # as kafka-python and the Java client
            "queue.buffering.max.messages": 10_000_000,  # Millrace bounds what waits
            "queue.buffering.max.kbytes": 2_097_151,
        }

    def _reading(self) -> dict[str, Any]:
        return {
            **self._settings("connection", "consumer"),
            "group.id": "millrace-reader",  # librdkafka asks for one even where nothing is committed
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",  # only where retention has deleted what was to be read next
            "partition.assignment.strategy": "range,roundrobin",
            "queued.min.messages": 20_000,
            "fetch.queue.backoff.ms": 5,  # with the default, a second, whoever works on messages waits for the next
        }

    def _settings(self, *roles: Role) -> dict[str, Any]:
        """The user's options in librdkafka's names."""
        settings: dict[str, Any] = {"bootstrap.servers": self._address.servers, "reconnect.backoff.max.ms": 1_000}
        for name, value in self._options.of(*roles).items():
            dotted = CLIENT[name].confluent
            if dotted is None:
                way_out = "leave it out, or set client='kafka-python'"
                raise KafkaFault("option", f"confluent-kafka has no '{name}': {way_out}")
            if name == "ssl_check_hostname":
                value = "https" if value else "none"
            settings[dotted] = value
        return settings
