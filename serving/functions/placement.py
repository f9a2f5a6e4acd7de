"""How a deployed function is run, as data: how many of it, with how much, and where."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass
class Placement:
    """What the platform of a deployed function is told, under MLRun's names. Nothing of it changes an answer.

    :param env_from_secrets: environment variables that come from a Kubernetes Secret, as ``"secret-name/key"``
    :param resources: Kubernetes' ``{"requests": {"cpu": …}, "limits": {"memory": …}}``
    :param replicas: a fixed number of replicas, instead of `min_replicas` and `max_replicas`
    :param nuclio_runtime: Nuclio's name of the runtime, such as ``python:3.11``
    :param readiness_timeout: how long a replica may take to start, in seconds
    """

    env_from_secrets: dict[str, str] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    replicas: int | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    node_name: str | None = None
    node_selector: dict[str, str] = field(default_factory=dict)
    affinity: dict[str, Any] | None = None
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    priority_class_name: str | None = None
    service_account: str | None = None
    service_type: str | None = None
    security_context: dict[str, Any] = field(default_factory=dict)
    image_pull_secret: str | None = None
    volumes: list[dict[str, Any]] = field(default_factory=list)
    volume_mounts: list[dict[str, Any]] = field(default_factory=list)
    nuclio_runtime: str | None = None
    readiness_timeout: int | None = None
    disable_default_http_trigger: bool | None = None


PLACEMENT = tuple(one.name for one in fields(Placement))
PLACEMENT_KINDS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("env_from_secrets", "resources", "node_selector", "affinity", "security_context"),
                    (dict, "a mapping")),
    **dict.fromkeys(("tolerations", "volumes", "volume_mounts"), (list, "a list of mappings")),
    **dict.fromkeys(("replicas", "min_replicas", "max_replicas", "readiness_timeout"), (int, "a whole number")),
    "disable_default_http_trigger": (bool, "true or false"),
}  # fmt: skip
"""What a value in a YAML file has to be; a text where nothing is said."""
