"""How many replicas of a function run: by the load on its processors, or by how much of its Kafka topics waits."""

from __future__ import annotations

from typing import Any

from ...errors import SpecError
from .kubernetes_pod import metadata, selector
from .unit import Unit

TARGET_CPU_PERCENT = 75
LAG_PER_REPLICA = 100
"""Messages that may wait for each replica before KEDA adds another."""
CALM_SECONDS = 300


def scaler(unit: Unit) -> dict[str, Any] | None:
    """What scales a function; ``None`` where its number of replicas is fixed.

    A function that reads Kafka is scaled by KEDA, which must be in the cluster; any other by its use of processors.

    :raises SpecError: it can not be scaled so
    """
    low, high = unit.replica_range
    if low == high:
        return None
    if any(one.stream.is_kafka for one in unit.streams):
        return _keda(unit)
    if low < 1:
        raise SpecError(
            f"function '{unit.name}': min_replicas=0 is for functions that read Kafka; Kubernetes keeps at least 1 that "
            "answers requests (KServe scales to none: kserve=True)"
        )
    if not _has_cpu_request(unit):
        raise SpecError(
            f"function '{unit.name}' has {low} to {high} replicas, and Kubernetes counts its load in parts of what it "
            "requests: say how much with function.with_requests(cpu=1), or give a fixed number with replicas="
        )
    return _hpa(unit)


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


def _keda(unit: Unit) -> dict[str, Any]:
    """https://keda.sh/docs/latest/scalers/apache-kafka/"""
    low, high = unit.replica_range
    triggers = [
        {
            "type": "kafka",
            "name": one.name,
            "metadata": {
                "bootstrapServers": ",".join(one.stream.brokers),
                "consumerGroup": one.group,
                "topic": one.stream.topic,
                "lagThreshold": str(LAG_PER_REPLICA),
                "offsetResetPolicy": one.start,
            },
        }
        for one in unit.streams
        if one.stream.is_kafka
    ]
    spec = {
        "scaleTargetRef": _target(unit),
        "minReplicaCount": low,
        "maxReplicaCount": high,
        "pollingInterval": 15,
        "cooldownPeriod": CALM_SECONDS,
        "triggers": triggers,
    }
    return {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata(unit), "spec": spec}


def disruption_budget(unit: Unit) -> dict[str, Any]:
    """One replica at a time is taken away from nodes that are emptied; a single one may be, too."""
    return {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(unit),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(unit)}},
    }  # fmt: skip
