"""The function that answers requests as KServe's InferenceService.

KServe makes deployment, service, addresses and scaling of its own, with Knative or without. What Knative refuses in
pods is left out (``pkg/apis/serving/fieldmask.go`` of knative/serving).
https://kserve.github.io/website/docs/model-serving/predictive-inference/frameworks/custom-predictor
"""

from __future__ import annotations

from typing import Any

from ...errors import SpecError
from .docker import PORT
from .kubernetes_pod import checksum, metadata, pod
from .names import check_name
from .unit import Unit

SUFFIX = "-predictor"
"""What KServe adds to the name of the function's Service."""
LONGEST_NAME = 63 - len(SUFFIX)
REFUSED = ("lifecycle", "startupProbe")
IN_CONTAINER = ("runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile")


def inference_service(unit: Unit) -> dict[str, Any]:
    """The manifest.

    :raises SpecError: the function takes no requests, or wants an address or a name that KServe does not give
    """
    if unit.http is None:
        raise SpecError(f"function '{unit.name}' takes no requests, which is all that KServe is for; leave kserve= out")
    if (unit.http.get("attributes") or {}).get("ingresses"):
        raise SpecError(
            f"function '{unit.name}': KServe makes the addresses of its functions itself; leave host= of with_http() "
            "out, or kserve="
        )
    check_name(unit.name, what="InferenceService's", longest=LONGEST_NAME)
    low, high = unit.replica_range
    found = metadata(unit)
    # It is put on the pods: so a new spec, which is in a ConfigMap, replaces them.
    found["annotations"] = {**found.get("annotations", {}), "millrace/spec": checksum(unit)}
    return {
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": found,
        "spec": {"predictor": {"minReplicas": low, "maxReplicas": high, **_pod(unit)}},
    }  # fmt: skip


def _pod(unit: Unit) -> dict[str, Any]:
    found = pod(unit)
    (whole,) = found["containers"]
    container = {name: value for name, value in whole.items() if name not in REFUSED}
    container |= {"name": "kserve-container", "ports": [{"containerPort": PORT, "protocol": "TCP"}]}
    for probe in ("livenessProbe", "readinessProbe"):
        container[probe] = {**whole[probe], "httpGet": {**whole[probe]["httpGet"], "port": PORT}}
    container["livenessProbe"]["initialDelaySeconds"] = unit.readiness_seconds  # there is no startup probe
    security = found.pop("securityContext")
    container["securityContext"] = {
        **whole["securityContext"], **{name: security[name] for name in IN_CONTAINER if name in security},
    }  # fmt: skip
    del found["terminationGracePeriodSeconds"]
    own = unit.placement.get("security_context")
    return found | {"containers": [container]} | ({"securityContext": own} if own else {})
