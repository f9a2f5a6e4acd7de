"""A function, its children and the Kafka between them as services of one ``compose.yaml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .docker import DRAIN_SECONDS, PORT, arguments, image_name, spec_name
from .target import COMPOSE_KAFKA
from .unit import Unit

KAFKA_IMAGE = "apache/kafka:3.9.1"
KAFKA, KAFKA_PORT = "kafka", 9092
KAFKA_DATA = "kafka-data"
CONTROLLER_PORT = 9093
CLUSTER = "4L6g3nShT-eMCtK--X86sw"
"""Any 16 bytes as base64; the id of the cluster must stay the same while its volume does."""


def compose(units: Sequence[Unit]) -> dict[str, Any]:
    """What ``compose.yaml`` says; the image is built in the folder ``image`` beside it.

    Secrets come from the environment of who starts it; compose refuses to start when one is not set.
    """
    needs_kafka = any(url.startswith(f"{COMPOSE_KAFKA}/") for unit in units for url in _urls(unit))
    parent = units[-1]
    services: dict[str, Any] = {KAFKA: _kafka()} if needs_kafka else {}
    for unit in units:
        services[unit.name] = _service(unit, parent, needs_kafka=needs_kafka)
    services[parent.name]["ports"] = [f"127.0.0.1:{PORT}:{PORT}"]
    found: dict[str, Any] = {"name": parent.name, "services": services}
    if needs_kafka:
        found["volumes"] = {KAFKA_DATA: {}}
    return found


def _urls(unit: Unit) -> list[str]:
    return [*unit.written, *(one.stream.url for one in unit.streams)]


def _service(unit: Unit, parent: Unit, *, needs_kafka: bool) -> dict[str, Any]:
    """One service; the parent's builds the image, which the others use."""
    environment = dict(sorted(unit.env.items()))
    environment |= {name: f"${{{name}:?a secret, set it in the environment}}" for name in sorted(unit.secrets)}
    before = {KAFKA: {"condition": "service_healthy"}} if needs_kafka else {}
    before |= {name: {"condition": "service_started"} for name in _deployed_before(unit, parent)}
    limits = unit.resources.get("limits") or {}
    service = {
        "image": image_name(parent),
        "build": {"context": "./image"},
        "command": arguments(unit, spec_name(unit)),
        "environment": {name: value.replace("$", "$$") if name in unit.env else value
                        for name, value in environment.items()},
        "depends_on": before,
        "restart": "unless-stopped",
        "stop_grace_period": f"{DRAIN_SECONDS + 10}s",
        "read_only": True,
        "tmpfs": ["/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "cpus": str(limits["cpu"]) if str(limits.get("cpu", "")).replace(".", "").isdigit() else None,
        "mem_limit": _bytes(limits.get("memory")),
        "deploy": _gpus(limits),
    }  # fmt: skip
    return {key: value for key, value in service.items() if value not in (None, {}, [])}


def _deployed_before(unit: Unit, parent: Unit) -> list[str]:
    prefix = unit.full_name.removesuffix(unit.name)
    return [name.removeprefix(prefix) for name in unit.after] if not unit.tag else []


def _gpus(limits: Mapping[str, Any]) -> dict[str, Any] | None:
    """The GPUs that a service keeps for itself. https://docs.docker.com/compose/how-tos/gpu-support

    >>> _gpus({"nvidia.com/gpu": "2"})["resources"]["reservations"]["devices"]
    [{'driver': 'nvidia', 'count': 2, 'capabilities': ['gpu']}]
    """
    devices = [
        {"driver": name.partition(".")[0], "count": int(count), "capabilities": ["gpu"]}
        for name, count in limits.items() if name.endswith("/gpu")
    ]  # fmt: skip
    return {"resources": {"reservations": {"devices": devices}}} if devices else None


def _bytes(quantity: Any) -> str | None:
    """Kubernetes' ``512Mi`` as compose writes it.

    >>> _bytes("512Mi")
    '512m'
    """
    text = str(quantity or "")
    return f"{text[:-2]}{text[-2].lower()}" if text.endswith(("Ki", "Mi", "Gi")) else None


def _kafka() -> dict[str, Any]:
    """A broker of one node that is its own controller (KRaft)."""
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@{KAFKA}:{CONTROLLER_PORT}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{KAFKA_PORT},CONTROLLER://:{CONTROLLER_PORT}",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{KAFKA}:{KAFKA_PORT}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_LOG_DIRS": "/var/lib/kafka/data",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "CLUSTER_ID": CLUSTER,
    }
    check = f"/opt/kafka/bin/kafka-broker-api-versions.sh --bootstrap-server {KAFKA}:{KAFKA_PORT} > /dev/null"
    return {
        "image": KAFKA_IMAGE,
        "environment": environment,
        "volumes": [f"{KAFKA_DATA}:/var/lib/kafka/data"],
        "healthcheck": {"test": ["CMD-SHELL", check], "interval": "5s", "timeout": "10s", "retries": 24},
        "restart": "unless-stopped",
    }
