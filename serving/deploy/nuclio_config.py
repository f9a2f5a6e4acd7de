"""A unit as Nuclio's ``function.yaml``, the triggers of its queues among it.

What the keys mean, and the names of the attributes, is from Nuclio's ``pkg/functionconfig/types.go`` and its triggers.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ...errors import SpecError
from .nuclio_triggers import DRAIN_SECONDS, triggers_of
from .target import OLDEST_PYTHON
from .unit import DRAIN_VARIABLE, FUNCTION_VARIABLE, SPEC_VARIABLE, TRUST_VARIABLE, Files, Unit

API_VERSION, KIND = "nuclio.io/v1", "NuclioFunction"
MAIN = '''"""What Nuclio runs. The function is in function-spec.yaml, and its code in the folder beside it."""

from millrace.serving.functions.nuclio import handler, init_context

__all__ = ["handler", "init_context"]
'''
HANDLER = "main:handler"
POST_COPY = "@nuclio.postCopy"
DEFAULT_PROJECT = "default"
NODES = {"node_name": "nodeName", "node_selector": "nodeSelector", "affinity": "affinity", "tolerations": "tolerations",
         "priority_class_name": "priorityClassName", "service_account": "serviceAccount",
         "security_context": "securityContext", "image_pull_secret": "imagePullSecrets"}  # fmt: skip


def nuclio_config(unit: Unit) -> dict[str, Any]:
    """The configuration of one function.

    :raises SpecError: Nuclio would refuse it
    """
    metadata: dict[str, Any] = {
        "name": unit.full_name,
        "labels": {**unit.labels, "nuclio.io/project-name": unit.project or DEFAULT_PROJECT,
                   "millrace/function": unit.name, "millrace/part-of": unit.whole},
    }  # fmt: skip
    if unit.annotations:
        metadata["annotations"] = dict(unit.annotations)
    low, high = unit.replica_range
    if low == 0 and unit.http is None:
        raise SpecError(
            f"function '{unit.name}': min_replicas=0 is for functions with an http trigger, which wakes them; "
            "one that only reads streams needs 1"
        )
    spec = {
        "description": unit.description,
        "handler": HANDLER,
        "runtime": _runtime(unit),
        "env": _env(unit),
        "build": _build(unit),
        "minReplicas": low,
        "maxReplicas": high,
        "triggers": triggers_of(unit),
        "disableDefaultHTTPTrigger": True if unit.http is None else None,
        "resources": dict(unit.resources),
        "readinessTimeoutSeconds": unit.readiness_seconds,
        "serviceType": unit.service_type,
        **_placement(unit.placement),
    }
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": {key: value for key, value in spec.items() if value not in (None, "", {}, [])},
    }


def nuclio_files(unit: Unit) -> Files:
    """What lies beside ``function.yaml`` in the function's folder, and in ``/opt/nuclio`` when it runs."""
    return {
        "main.py": MAIN,
        "function-spec.yaml": unit.spec,
        "requirements.txt": "".join(f"{one}\n" for one in unit.requirements),
        **unit.files,
    }


def _runtime(unit: Unit) -> str:
    runtime = unit.nuclio_runtime or f"python:{unit.python}"
    name, _, version = runtime.partition(":")
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    if name != "python" or numbers < OLDEST_PYTHON:
        raise SpecError(
            f"function '{unit.name}': the runtime '{runtime}' does not run Millrace; leave nuclio_runtime out, or say "
            "'python:3.11' or later"
        )
    return runtime


def _env(unit: Unit) -> list[dict[str, Any]]:
    own = {SPEC_VARIABLE: unit.spec_file, FUNCTION_VARIABLE: unit.child}
    own |= {TRUST_VARIABLE: "1"} if unit.trusted else {}
    env = {DRAIN_VARIABLE: str(DRAIN_SECONDS), **unit.env, **own}
    values: dict[str, dict[str, Any]] = {name: {"value": value} for name, value in env.items()}
    for name, reference in unit.secrets.items():
        secret, _, key = reference.partition("/")
        values[name] = {"valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
    return [{"name": name, **values[name]} for name in sorted(values)]


def _build(unit: Unit) -> dict[str, Any]:
    return {
        "baseImage": unit.base_image or f"python:{unit.python}-slim",
        "commands": [*unit.commands, *_installing(unit)],
    }


def _installing(unit: Unit) -> list[str]:
    """The command that installs the requirements; a wheel is in the function's folder, which is copied first."""
    words = [word for one in unit.requirements for word in (shlex.split(one) if one.startswith("-") else [one])]
    listed = " ".join(shlex.quote(word) for word in words)
    command = f"python -m pip install --no-cache-dir {listed}"
    return [POST_COPY, f"cd {unit.target.folder} && {command}"] if unit.target.wheel else [command]


def _placement(placement: Mapping[str, Any]) -> dict[str, Any]:
    found = {NODES[name]: value for name, value in placement.items() if name in NODES}
    mounts = {one.get("name"): one for one in placement.get("volume_mounts", [])}
    volumes = [{"volume": one, "volumeMount": mounts[one.get("name")]} for one in placement.get("volumes", [])
               if one.get("name") in mounts]  # fmt: skip
    return found | ({"volumes": volumes} if volumes else {})
