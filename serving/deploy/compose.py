"""A function, its children and the Kafka between them as services of one ``compose.yaml``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from ...errors import SpecError
from .docker import DRAIN_SECONDS, PORT, arguments, image_name, spec_name
from .target import COMPOSE_KAFKA
from .unit import Unit

KAFKA_IMAGE = "apache/kafka:3.9.1"
KAFKA, KAFKA_PORT = "kafka", 9092
KAFKA_DATA = "kafka-data"
CONTROLLER_PORT = 9093
CLUSTER = "4L6g3nShT-eMCtK--X86sw"
"""Any 16 bytes as base64; the id of the cluster must stay the same while its volume does."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""What compose takes for a variable's name between braces; in ``${A-B}``, ``B`` is what stands for a missing ``A``."""
UNITS = {"m": Decimal("0.001"), "": Decimal(1)} | {
    f"{one}{end}": Decimal(base) ** power
    for end, base in (("", 1000), ("i", 1024)) for power, one in enumerate("KMGTPE", 1)
} | {"k": Decimal(1000)}  # fmt: skip
"""https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity"""


def compose(units: Sequence[Unit]) -> dict[str, Any]:
    """What ``compose.yaml`` says; the image is built in the folder ``image`` beside it.

    Secrets come from the environment of who starts it; compose refuses to start when one is not set.

    :raises SpecError: a function is called as the Kafka that comes along, or a secret as no variable can be
    """
    needs_kafka = any(url.startswith(f"{COMPOSE_KAFKA}/") for unit in units for url in _urls(unit))
    parent, names = units[-1], {unit.full_name: unit.name for unit in units}
    services: dict[str, Any] = {KAFKA: _kafka()} if needs_kafka else {}
    for unit in units:
        if unit.name in services:
            raise SpecError(
                f"function '{unit.name}': compose.yaml has a service '{KAFKA}' for its streams; give the function "
                "another name, or say where its streams are with streams='kafka://broker:9092' (--streams)"
            )
        services[unit.name] = _service(unit, parent, names, needs_kafka=needs_kafka)
    services[parent.name]["ports"] = [f"127.0.0.1:{PORT}:{PORT}"]
    found: dict[str, Any] = {"name": parent.name, "services": services}
    named: dict[str, Any] = {KAFKA_DATA: {}} if needs_kafka else {}
    named |= {_source(one): {} for unit in units for _, one in _mounts(unit) if "persistentVolumeClaim" in one}
    return found | ({"volumes": named} if named else {})


def _urls(unit: Unit) -> list[str]:
    return [*unit.written, *(one.stream.url for one in unit.streams)]


def _service(unit: Unit, parent: Unit, names: Mapping[str, str], *, needs_kafka: bool) -> dict[str, Any]:
    """One service; the parent's builds the image, which the others use.

    :param names: of all services, by the functions' full names
    """
    environment = dict(sorted(unit.env.items()))
    environment |= {name: _of_who_starts(name, unit) for name in sorted(unit.secrets)}
    before = {KAFKA: {"condition": "service_healthy"}} if needs_kafka else {}
    before |= {names[one]: {"condition": "service_started"} for one in unit.after}
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
        "tmpfs": ["/tmp", *(place for place, one in _mounts(unit) if "emptyDir" in one)],
        "volumes": [f"{_source(one)}:{place}" for place, one in _mounts(unit) if _source(one)],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "cpus": _number(limits["cpu"]) if "cpu" in limits else None,
        "mem_limit": _number(limits["memory"]) if "memory" in limits else None,
        "deploy": _gpus(limits),
    }  # fmt: skip
    return {key: value for key, value in service.items() if value not in (None, {}, [])}


def _mounts(unit: Unit) -> list[tuple[str, Mapping[str, Any]]]:
    """Where something is mounted in a pod, with the volume as Kubernetes has it."""
    volumes = {one.get("name"): one for one in unit.placement.get("volumes", ())}
    mounts = unit.placement.get("volume_mounts", ())
    return [(one["mountPath"], volumes[one["name"]]) for one in mounts if one.get("name") in volumes]


def _source(volume: Mapping[str, Any]) -> str:
    """What compose mounts for a volume of Kubernetes; empty for what only a cluster has.

    >>> _source({"name": "models", "persistentVolumeClaim": {"claimName": "models"}})
    'models'
    """
    if "hostPath" in volume:
        return str(volume["hostPath"]["path"])
    return str(volume["persistentVolumeClaim"]["claimName"]) if "persistentVolumeClaim" in volume else ""


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


def _number(quantity: Any) -> str:
    """Kubernetes' ``500m`` and ``512Mi`` as plain numbers, of processors or bytes.

    >>> _number("500m"), _number("512Mi"), _number("2G")
    ('0.5', '536870912', '2000000000')
    """
    text = str(quantity)
    digits = text.rstrip("KMGTPEikm")
    try:
        return f"{(Decimal(digits) * UNITS[text[len(digits) :]]).normalize():f}"
    except (ArithmeticError, KeyError) as error:
        raise SpecError(f"the limit {text!r} is no quantity; write 500m or 2 for cores, 512Mi for bytes") from error


def _of_who_starts(name: str, unit: Unit) -> str:
    """A reference to a variable that must be set in the environment of who starts compose."""
    if not VARIABLE.fullmatch(name):
        raise SpecError(
            f"function '{unit.name}': the secret's variable '{name}' is none that compose reads; use letters, digits "
            "and '_' in the secret's name"
        )
    return f"${{{name}:?a secret, set it in the environment}}"


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
