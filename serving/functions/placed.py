"""The calls that say how a deployed function is run: resources, nodes, triggers, what is installed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Self

from ...errors import GraphError
from ..graph.step import warn_inert
from .arguments import known_arguments
from .spec import FunctionSpec, Metadata

GPU = "nvidia.com/gpu"
QUANTITY = re.compile(r"\d+(\.\d+)?([mkMGTPE]|[KMGTPE]i)?")  # Kubernetes' resource.Quantity, without exponents
SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-._a-zA-Z0-9]+")
SECRET_VARIABLE = "MILLRACE_SECRET_"


class Placed:
    """The part of a function that its platform reads; a mock server takes no notice of it.

    >>> from millrace import new_function
    >>> function = new_function("adder").with_limits(mem="2Gi", cpu=1).with_http(workers=4)
    >>> function.spec.resources, function.spec.triggers["http"]["numWorkers"]
    ({'limits': {'cpu': '1', 'memory': '2Gi'}}, 4)
    """

    metadata: Metadata
    spec: FunctionSpec

    # -- resources and nodes -------------------------------------------------------------------------------------

    @known_arguments
    def with_limits(
        self, mem: str | None = None, cpu: str | float | None = None, gpus: int | None = None, gpu_type: str = GPU,
        patch: bool | None = None,
    ) -> Self:  # fmt: skip
        """Set the most that one replica may use.

        :param mem: bytes, as Kubernetes writes them: ``"512Mi"``, ``"2Gi"``
        :param cpu: cores: ``2``, ``0.5`` or ``"500m"``
        :param gpus: how many devices of `gpu_type`
        :raises GraphError: it is no quantity
        """
        return self._with_resources("limits", {"cpu": cpu, "memory": mem, gpu_type: gpus})

    @known_arguments
    def with_requests(
        self, mem: str | None = None, cpu: str | float | None = None, patch: bool | None = None
    ) -> Self:  # fmt: skip
        """Set what is kept free for one replica; in the units of :meth:`with_limits`."""
        return self._with_resources("requests", {"cpu": cpu, "memory": mem})

    def _with_resources(self, kind: str, given: Mapping[str, str | float | None]) -> Self:
        found = {name: _quantity(name, value) for name, value in given.items() if value is not None}
        self.spec.resources = {**self.spec.resources, kind: {**self.spec.resources.get(kind, {}), **found}}
        return self

    @known_arguments
    def with_node_selection(
        self, node_name: str | None = None, node_selector: dict[str, str] | None = None,
        affinity: dict[str, Any] | None = None, tolerations: list[dict[str, Any]] | None = None,
    ) -> Self:  # fmt: skip
        """Say on which nodes replicas run; `affinity` and `tolerations` are written as in a Kubernetes pod."""
        given = {"node_name": node_name, "node_selector": node_selector, "affinity": affinity,
                 "tolerations": tolerations}  # fmt: skip
        for name, value in given.items():
            if value is not None:
                setattr(self.spec, name, value)
        return self

    def with_priority_class(self, name: str) -> Self:
        """Run with a Kubernetes priority class."""
        self.spec.priority_class_name = name
        return self

    def with_annotations(self, annotations: dict[str, str]) -> Self:
        """Add annotations to what is deployed."""
        self.metadata.annotations = {**self.metadata.annotations, **annotations}
        return self

    # -- what it runs with ---------------------------------------------------------------------------------------

    @known_arguments
    def with_requirements(self, requirements: list[str], overwrite: bool = False) -> Self:
        """Add packages that the function needs, as ``pip`` writes them.

        :raises GraphError: it is one text
        """
        _refuse_text("requirements", requirements)
        kept = [] if overwrite else self.spec.build.requirements
        self.spec.build.requirements = list(dict.fromkeys([*kept, *requirements]))
        return self

    @known_arguments
    def with_commands(self, commands: list[str], overwrite: bool = False) -> Self:
        """Add shell commands that build the function's image, which run before its packages are installed.

        :raises GraphError: it is one text
        """
        _refuse_text("commands", commands)
        kept = [] if overwrite else self.spec.build.commands
        self.spec.build.commands = list(dict.fromkeys([*kept, *commands]))
        return self

    def set_env(self, name: str, value: Any = None) -> Self:
        """Set an environment variable of the deployed function."""
        self.spec.env[name] = str(value)
        return self

    @known_arguments
    def set_env_from_secret(self, name: str, secret: str, secret_key: str | None = None) -> Self:
        """Let an environment variable of the deployed function come from a Kubernetes Secret.

        :param secret_key: the key in the Secret; default: the variable's name
        :raises GraphError: the Secret can not be named so
        """
        self.spec.env_from_secrets[name] = secret_reference(f"{secret}/{secret_key or name}", name)
        return self

    def refer_to_secrets(self, references: Mapping[str, str]) -> list[str]:
        """Let the graph's secrets come from Kubernetes Secrets, and return their names.

        :param references: the Secret of each, as ``"secret-name/key"`` or, where the key is the name, ``"secret-name"``
        """
        for name, reference in references.items():
            variable = f"{SECRET_VARIABLE}{name}"
            self.spec.env_from_secrets[variable] = secret_reference(reference, name)
        return list(references)

    # -- triggers ------------------------------------------------------------------------------------------------

    @known_arguments
    def with_http(
        self, workers: int | None = 8, port: int | None = None, host: str | None = None,
        paths: list[str] | None = None, canary: Any = None, secret: str | None = None,
        worker_timeout: int | None = None, gateway_timeout: int | None = None, trigger_name: str | None = None,
        annotations: dict[str, str] | None = None, extra_attributes: dict[str, Any] | None = None,
    ) -> Self:  # fmt: skip
        """Set the HTTP trigger.

        :param workers: processes per replica
        :param port: a port of the node, where the platform gives one
        :param host: the host name of an ingress, and `paths` those it takes
        :param secret: the Secret with the ingress' certificate
        :param worker_timeout: how long a request waits for a free worker, in seconds
        """
        warn_inert(canary=canary, gateway_timeout=gateway_timeout)
        ingress = {"host": host, "paths": paths or ["/"], "pathType": "Prefix", "secretName": secret}
        attributes = {
            **({"port": port} if port else {}),
            **({"ingresses": {"0": {key: one for key, one in ingress.items() if one}}} if host else {}),
            **(extra_attributes or {}),
        }
        waiting = worker_timeout * 1000 if worker_timeout is not None else None
        trigger = {"kind": "http", "numWorkers": workers, "annotations": annotations, "attributes": attributes,
                   "workerAvailabilityTimeoutMilliseconds": waiting}  # fmt: skip
        return self.add_trigger(trigger_name or "http", {key: one for key, one in trigger.items() if one})

    def add_trigger(self, name: str, spec: Any) -> Self:
        """Declare a trigger of the deployed function.

        :param spec: a mapping in Nuclio's form, with its kind (``http``, ``kafka-cluster``, ``v3ioStream``, ``cron``…),
            or an object of nuclio-jupyter
        :raises GraphError: it is neither

        >>> import millrace
        >>> function = millrace.new_function("report")
        >>> function.add_trigger("nightly", {"kind": "cron", "attributes": {"schedule": "0 3 * * *"}}).spec.triggers
        {'nightly': {'kind': 'cron', 'attributes': {'schedule': '0 3 * * *'}}}
        """
        found = spec if isinstance(spec, Mapping) else getattr(spec, "to_dict", dict)()
        if not found.get("kind"):
            raise GraphError(f"trigger '{name}': give a mapping with its kind, such as {{'kind': 'http'}}")
        self.spec.triggers[name] = dict(found)
        return self

    @known_arguments
    def add_v3io_stream_trigger(
        self, stream_path: str, name: str = "stream", group: str = "serving", seek_to: str = "earliest",
        shards: int = 1, extra_attributes: dict[str, Any] | None = None, ack_window_size: int | None = None,
    ) -> Self:  # fmt: skip
        """Let a v3io stream trigger the deployed function from outside its graph's queues.

        :param stream_path: ``v3io://host/container/path``, or ``/container/path`` on the platform itself
        """
        container, _, path = stream_path.partition("://")[2].partition("/")[2].strip("/").partition("/")
        if "://" not in stream_path:
            container, _, path = stream_path.strip("/").partition("/")
        attributes = {"containerName": container, "streamPath": path, "consumerGroup": group.replace("-", "_"),
                      "seekTo": seek_to, "ackWindowSize": ack_window_size, **(extra_attributes or {})}  # fmt: skip
        self.spec.min_replicas = self.spec.max_replicas = shards
        found = {key: one for key, one in attributes.items() if one is not None}
        return self.add_trigger(name, {"kind": "v3ioStream", "attributes": found})


def secret_reference(text: str, name: str) -> str:
    """A reference to a key of a Kubernetes Secret, ``"secret-name/key"``.

    >>> secret_reference("bank", "TOKEN")
    'bank/TOKEN'
    """
    full = text if "/" in text else f"{text}/{name}"
    if not SECRET.fullmatch(full):
        raise GraphError(
            f"the secret '{name}' names a Kubernetes Secret as 'secret-name/key', such as 'bank/token': not '{text}'"
        )
    return full


def _refuse_text(name: str, given: Any) -> None:
    if isinstance(given, str):  # else each of its characters would be one
        raise GraphError(f"{name}={given!r} is one text; give a list: {name}=[{given!r}]")


def _quantity(name: str, value: str | float) -> str:
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        text = ""
    if isinstance(value, bool) or not QUANTITY.fullmatch(text):
        raise GraphError(f"{name}={value!r} is no quantity; write 500m or 2 for cores, 512Mi or 2Gi for bytes")
    return text
