"""The parts of a Kafka client on kafka-python."""

from __future__ import annotations

from typing import Any

from .kafka_address import KafkaAddress
from .kafka_client import Client, Cluster, Member, Rebalance, Sender, Transactor
from .kafka_options import KafkaOptions, Role
from .kafka_python_cluster import PythonCluster
from .kafka_python_member import PythonMember
from .kafka_python_sender import PythonSender
from .kafka_python_transactor import PythonTransactor


class PythonClient(Client):
    """Makes the parts on kafka-python."""

    def __init__(self, address: KafkaAddress, options: KafkaOptions) -> None:
        self._address, self._options = address, options

    def cluster(self) -> Cluster:
        return PythonCluster(self._address.topic, self._options, self._settings("connection"), self._reading)

    def sender(self) -> Sender:
        return PythonSender(self._address.topic, self._writing("connection", "producer"))

    def transactor(self, name: str) -> Transactor:
        settings = {**self._writing("connection", "producer", "transaction"), "transactional_id": name}
        return PythonTransactor(self._address.topic, settings)

    def member(self, group: str, rebalance: Rebalance) -> Member:
        return PythonMember(self._address.topic, {**self._reading(), "group_id": group}, rebalance)

    def _writing(self, *roles: Role) -> dict[str, Any]:
        settings = {**self._settings(*roles), "acks": "all", "enable_idempotence": True}
        delivery = settings["delivery_timeout_ms"]
        settings["max_block_ms"] = delivery
        settings["request_timeout_ms"] = min(settings.get("request_timeout_ms", 30_000), delivery)
        return settings

    def _reading(self) -> dict[str, Any]:
        return {
            **self._settings("connection", "consumer"),
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",  # only where retention has deleted what was to be read next
        }

    def _settings(self, *roles: Role) -> dict[str, Any]:
        milliseconds = int(self._options.connect_timeout_seconds * 1000)
        return {
            "bootstrap_servers": self._address.servers.split(","),
            "bootstrap_timeout_ms": milliseconds,
            "reconnect_backoff_max_ms": 1_000,
            "metrics_enabled": False,
            **self._options.of(*roles),
        }
