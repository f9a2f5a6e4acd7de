"""Units as Kubernetes' manifests: what each function is made of there, in the order to apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import SpecError
from .docker import PORT, check_triggers
from .kubernetes_cron import cron_jobs
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
        return [*own, _inference_service(unit)]
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
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            "metadata": {"labels": labels(unit), "annotations": {**unit.annotations, "millrace/spec": checksum(unit)}},
            "spec": pod(unit),
        },
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(unit), "spec": spec}


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


def _inference_service(unit: Unit) -> Manifest:
    """The function behind KServe, which makes deployment, service and scaling of its own.

    https://kserve.github.io/website/docs/model-serving/predictive-inference/frameworks/custom-predictor
    """
    low, high = unit.replica_range
    template = pod(unit)
    (container,) = template.pop("containers")
    container["name"] = "kserve-container"
    container["ports"] = [{"containerPort": PORT, "protocol": "TCP"}]
    for name in ("restartPolicy",):
        template.pop(name, None)
    if unit.http is None:
        raise SpecError(f"function '{unit.name}' takes no requests, which is all that KServe is for; leave kserve= out")
    predictor = {"minReplicas": low, "maxReplicas": high, "containers": [container], **template}
    return {
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata(unit),
        "spec": {"predictor": predictor},
    }  # fmt: skip
