"""The pod of a function: one container that serves its part of the graph."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from .docker import DRAIN_SECONDS, PORT, USER, arguments, image_name
from .kafka_login import KafkaLogin
from .trigger import StreamTrigger
from .unit import SPEC_FILE, Unit

CONTAINER = "function"
SPEC_KEY, SPEC_VOLUME = "function-spec.yaml", "function-spec"
PROBE_SECONDS = 5
LEAVING_SECONDS = 5
"""From the end of a pod until no proxy sends requests to it any more; it answers them meanwhile."""
LIVE, READY = "/v2/health/live", "/v2/health/ready"


def selector(unit: Unit) -> dict[str, str]:
    """The labels by which the pods of a function are found."""
    return {"app.kubernetes.io/name": unit.name, "app.kubernetes.io/managed-by": "millrace"}


def labels(unit: Unit) -> dict[str, str]:
    """All labels of what belongs to a function."""
    parent = unit.name.removesuffix(f"-{unit.child}") if unit.child else unit.name
    project = {"millrace/project": unit.project} if unit.project else {}
    return {**unit.labels, **selector(unit), "app.kubernetes.io/part-of": parent, **project}


def metadata(unit: Unit, *, suffix: str = "") -> dict[str, Any]:
    """The metadata of one of a function's manifests."""
    found: dict[str, Any] = {"name": f"{unit.name}-{suffix}" if suffix else unit.name}
    if unit.target.namespace:
        found["namespace"] = unit.target.namespace
    found["labels"] = labels(unit)
    return found | ({"annotations": dict(unit.annotations)} if unit.annotations else {})


def checksum(unit: Unit) -> str:
    """A hash of the function's spec: when it changes, pods are replaced."""
    return hashlib.sha256(unit.spec.encode()).hexdigest()[:16]


def pod(unit: Unit) -> dict[str, Any]:
    """The pod's spec."""
    placed = unit.placement
    found: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"}, **placed.get("security_context", {}),
        },
        "terminationGracePeriodSeconds": LEAVING_SECONDS + DRAIN_SECONDS + 10,
        "containers": [_container(unit)],
        "volumes": [
            {"name": SPEC_VOLUME, "configMap": {"name": f"{unit.name}-spec"}},
            {"name": "tmp", "emptyDir": {}},
            *placed.get("volumes", []),
        ],
    }  # fmt: skip
    names = {"node_name": "nodeName", "node_selector": "nodeSelector", "affinity": "affinity",
             "tolerations": "tolerations", "priority_class_name": "priorityClassName",
             "service_account": "serviceAccountName"}  # fmt: skip
    found |= {names[name]: value for name, value in placed.items() if name in names}
    if "service_account" in placed:
        del found["automountServiceAccountToken"]
    if "image_pull_secret" in placed:
        found["imagePullSecrets"] = [{"name": placed["image_pull_secret"]}]
    return found


def _container(unit: Unit) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": image_name(unit),
        "args": arguments(unit, SPEC_FILE),
        "env": environment(unit),
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": dict(unit.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        },
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVING_SECONDS)]}}},
        "startupProbe": _probe(LIVE, failures=-(-unit.readiness_seconds // PROBE_SECONDS)),
        "livenessProbe": _probe(LIVE, failures=6),
        "readinessProbe": _probe(READY, failures=2),
        "volumeMounts": [
            {"name": SPEC_VOLUME, "mountPath": unit.spec_file, "subPath": SPEC_KEY, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            *unit.placement.get("volume_mounts", []),
        ],
    }  # fmt: skip


def user_variable(trigger: StreamTrigger) -> str:
    """The environment variable with the name of the user of a Kafka topic, which KEDA reads there."""
    plain = re.sub(r"[^a-z0-9]", "_", trigger.name)
    own = "" if plain == trigger.name else f"_{name_hash(trigger.name)}"
    return f"MILLRACE_USER_OF_{plain}{own}".upper()


def name_hash(name: str) -> str:
    """What tells names apart that are written alike where only some characters may be."""
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def environment(unit: Unit) -> list[dict[str, Any]]:
    """Environment variables by name; those with secrets refer to Kubernetes Secrets."""
    users = {user_variable(one): login.user for one in unit.streams if one.stream.is_kafka
             and (login := KafkaLogin.of(one.stream)).mechanism}  # fmt: skip
    values: dict[str, dict[str, Any]] = {name: {"value": value} for name, value in {**unit.env, **users}.items()}
    for name, reference in unit.secrets.items():
        secret, _, key = reference.partition("/")
        values[name] = {"valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
    return [{"name": name, **values[name]} for name in sorted(values)]


def _probe(path: str, *, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"}, "periodSeconds": PROBE_SECONDS, "timeoutSeconds": 3,
        "failureThreshold": failures,
    }  # fmt: skip
