"""Units as Kubernetes' manifests: what each function is made of there, in the order to apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .docker import check_triggers
from .kubernetes_cron import cron_jobs
from .kubernetes_kserve import SUFFIX, inference_service
from .kubernetes_pod import SPEC_KEY, checksum, labels, metadata, pod, selector
from .kubernetes_scaling import disruption_budget, scaler
from .unit import Unit

Manifest = dict[str, Any]
SERVICE_PORT = 80


def manifests(units: Sequence[Unit]) -> dict[str, list[Manifest]]:
    """The manifests of each unit, by the name of its file.

    >>> from .target import Target
    >>> unit = Unit(name="adder", target=Target(name="kubernetes"), spec="kind: serving\\n", requirements=("millrace",))
    >>> [one["kind"] for one in manifests([unit])["adder"]]
    ['ConfigMap', 'Deployment', 'Service', 'PodDisruptionBudget']
    """
    return {unit.name: [one for one in _of(unit) if one is not None] for unit in units}


def _of(unit: Unit) -> list[Manifest | None]:
    check_triggers(unit)
    own: list[Manifest | None] = [_config_map(unit)]
    if unit.target.kserve and unit.is_parent:
        return [*own, inference_service(unit), *cron_jobs(unit, host=f"{unit.name}{SUFFIX}")]
    own += [_deployment(unit)]
    if unit.http is not None:
        own += [_service(unit), _ingress(unit)]
    return [*own, *scaler(unit), disruption_budget(unit), *cron_jobs(unit)]


def _config_map(unit: Unit) -> Manifest:
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(unit, suffix="spec"),
        "data": {SPEC_KEY: unit.spec},
    }  # fmt: skip


def _deployment(unit: Unit) -> Manifest:
    low, high = unit.replica_range
    spec: Manifest = {
        # What is scaled has no number here: applying the manifest again would undo the scaling.
        **({"replicas": low} if low == high else {}),
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": selector(unit)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": _replacing(unit)},
        "template": {
            "metadata": {"labels": labels(unit), "annotations": {**unit.annotations, "millrace/spec": checksum(unit)}},
            "spec": pod(unit),
        },
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(unit), "spec": spec}


def _replacing(unit: Unit) -> dict[str, int]:
    """How pods are replaced: with none missing, unless a queue waits meanwhile and a further GPU may not be there."""
    needs_gpu = any(name.endswith("/gpu") for name in unit.resources.get("limits") or ())
    may_miss = int(needs_gpu and unit.http is None)
    return {"maxUnavailable": may_miss, "maxSurge": 1 - may_miss}


def _service(unit: Unit) -> Manifest:
    spec: Manifest = {
        "selector": selector(unit),
        "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": "http", "protocol": "TCP"}],
        "type": unit.service_type or "ClusterIP",
    }
    port = ((unit.http or {}).get("attributes") or {}).get("port")
    if port:
        spec["type"], spec["ports"][0]["nodePort"] = "NodePort", port
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(unit), "spec": spec}


def _ingress(unit: Unit) -> Manifest | None:
    given = ((unit.http or {}).get("attributes") or {}).get("ingresses") or {}
    if not given:
        return None
    backend = {"service": {"name": unit.name, "port": {"name": "http"}}}
    rules, tls = [], []
    for one in given.values():
        kind = one.get("pathType") or "Prefix"
        paths = [{"path": path, "pathType": kind, "backend": backend} for path in one.get("paths") or ["/"]]
        rules.append({"host": one["host"], "http": {"paths": paths}})
        if one.get("secretName"):
            tls.append({"hosts": [one["host"]], "secretName": one["secretName"]})
    found = metadata(unit)
    found["annotations"] = {**found.get("annotations", {}), **((unit.http or {}).get("annotations") or {})}
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": found,
        "spec": {"rules": rules, **({"tls": tls} if tls else {})},
    }  # fmt: skip
