"""How many replicas of a function run: by the load on its processors, or by how much of its Kafka topics waits."""

from __future__ import annotations

import re
from typing import Any

from ...errors import SpecError
from .kafka_login import KafkaLogin
from .kubernetes_pod import CONTAINER, metadata, name_hash, selector, user_variable
from .trigger import StreamTrigger
from .unit import Unit

KEDA_VERSION = "keda.sh/v1alpha1"
TARGET_CPU_PERCENT = 75
LAG_PER_REPLICA = 100
"""Messages that may wait for each replica before KEDA adds another."""
CALM_SECONDS = 300


def scaler(unit: Unit) -> list[dict[str, Any]]:
    """What scales a function; nothing where its number of replicas is fixed.

    A function that reads Kafka is scaled by KEDA, which must be in the cluster; any other by its use of processors.

    :raises SpecError: it can not be scaled so
    """
    low, high = unit.replica_range
    if low == high:
        return []
    if any(one.stream.is_kafka for one in unit.streams):
        return _keda(unit)
    if low < 1:
        raise SpecError(
            f"function '{unit.name}': min_replicas=0 is for functions that read Kafka; Kubernetes keeps at least 1 "
            "that answers requests (KServe scales to none: kserve=True)"
        )
    if not _has_cpu_request(unit):
        raise SpecError(
            f"function '{unit.name}' has {low} to {high} replicas, and Kubernetes counts its load in parts of what it "
            "requests: say how much with function.with_requests(cpu=1), or give a fixed number with replicas="
        )
    return [_hpa(unit)]


def _has_cpu_request(unit: Unit) -> bool:
    """Whether there is a request for processors; a limit alone is taken for one."""
    return any("cpu" in (unit.resources.get(kind) or {}) for kind in ("requests", "limits"))


def _target(unit: Unit) -> dict[str, str]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": unit.name}


def _hpa(unit: Unit) -> dict[str, Any]:
    low, high = unit.replica_range
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": TARGET_CPU_PERCENT}}
    spec = {
        "scaleTargetRef": _target(unit),
        "minReplicas": low,
        "maxReplicas": high,
        "metrics": [{"type": "Resource", "resource": metric}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": CALM_SECONDS}},
    }
    return {
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata(unit), "spec": spec,
    }  # fmt: skip


def _keda(unit: Unit) -> list[dict[str, Any]]:
    """https://keda.sh/docs/latest/scalers/apache-kafka/"""
    low, high = unit.replica_range
    if low < 1 and unit.http is not None:
        raise SpecError(
            f"function '{unit.name}' answers requests as well as it reads Kafka, and with min_replicas=0 nobody would "
            "answer while no message waits: give 1, or read in a child function"
        )
    streams = [one for one in unit.streams if one.stream.is_kafka]
    logins = [_login(unit, one) for one in streams if KafkaLogin.of(one.stream).mechanism]
    triggers = [_lag(unit, one) for one in streams]
    spec = {
        "scaleTargetRef": _target(unit),
        "minReplicaCount": low,
        "maxReplicaCount": high,
        "pollingInterval": 15,
        "cooldownPeriod": CALM_SECONDS,
        "triggers": triggers,
    }
    scaled = {"apiVersion": KEDA_VERSION, "kind": "ScaledObject", "metadata": metadata(unit), "spec": spec}
    return [*logins, scaled]


def _lag(unit: Unit, trigger: StreamTrigger) -> dict[str, Any]:
    """KEDA's trigger for what waits in one topic."""
    login = KafkaLogin.of(trigger.stream)
    found: dict[str, Any] = {
        "type": "kafka",
        "name": trigger.name,
        "metadata": {
            "bootstrapServers": ",".join(trigger.stream.brokers),
            "consumerGroup": trigger.group,
            "topic": trigger.stream.topic,
            "lagThreshold": str(LAG_PER_REPLICA),
            "offsetResetPolicy": trigger.start,
            **login.in_keda(),
        },
    }
    return found | ({"authenticationRef": {"name": f"{unit.name}-{_suffix(trigger)}"}} if login.mechanism else {})


def _login(unit: Unit, trigger: StreamTrigger) -> dict[str, Any]:
    """How KEDA logs in: the password is in a Secret, the user's name in the function's environment."""
    login = KafkaLogin.of(trigger.stream)
    if not login.secret:
        raise SpecError(
            f"function '{unit.name}', queue '{trigger.stream.name}': KEDA logs in to Kafka too, and no secret has the "
            "password; name it with secrets={'sasl_plain_password': 'NAME'}, or set replicas="
        )
    secret, _, key = unit.secrets[f"MILLRACE_SECRET_{login.secret}"].partition("/")
    spec = {
        "secretTargetRef": [{"parameter": "password", "name": secret, "key": key}],
        "env": [{"parameter": "username", "name": user_variable(trigger), "containerName": CONTAINER}],
    }
    own = metadata(unit, suffix=_suffix(trigger))
    return {"apiVersion": KEDA_VERSION, "kind": "TriggerAuthentication", "metadata": own, "spec": spec}


def _suffix(trigger: StreamTrigger) -> str:
    """The name of a queue, of which there may be any, as part of a name that Kubernetes takes; each has its own."""
    plain = re.sub(r"[^a-z0-9]+", "-", trigger.name.lower()).strip("-")
    return plain if plain == trigger.name else f"{plain}-{name_hash(trigger.name)}".lstrip("-")


def disruption_budget(unit: Unit) -> dict[str, Any]:
    """One replica at a time is taken away from nodes that are emptied; a single one may be, too."""
    return {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(unit),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(unit)}},
    }  # fmt: skip
