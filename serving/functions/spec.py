"""What a function is, as data: metadata and spec, to and from YAML."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ...errors import SpecError, near
from ..engine.secrets import Secrets
from ..graph.dump import root_from_dict, to_dict
from ..graph.flow import FlowStep
from ..graph.plain import to_plain, unpickled
from ..graph.router import RouterStep
from ..graph.step import warn_inert
from .placement import PLACEMENT, PLACEMENT_KINDS, Placement

Graph = FlowStep | RouterStep


@dataclass
class Metadata:
    """Name and labels of a function."""

    name: str = "function"
    project: str = ""
    tag: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass
class Build:
    """How the function's image is built.

    :param commands: shell commands, in order
    :param requirements: packages to install
    """

    base_image: str | None = None
    commands: list[str] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)


@dataclass
class FunctionSpec(Placement):
    """Everything of a function but its name.

    :param filename: the Python file or notebook with its classes and functions
    :param functions: its child functions by name
    :param load_mode: ``sync`` (models load before the first request) or ``async`` (in the background)
    :param default_class: the class of models that name none
    :param error_stream: the address of the stream that gets what failed
    :param data_hosts: hosts from which a request's ``data_url`` may be read; none turns it off
    """

    graph: Graph | None = None
    filename: str | None = None
    image: str | None = None
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    functions: dict[str, Any] = field(default_factory=dict)
    load_mode: str | None = None
    default_class: Any = None
    graph_initializer: Any = None
    default_content_type: str | None = None
    error_stream: str | None = None
    tracking_stream: str | None = None
    sampling_percentage: float = 100
    data_hosts: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    triggers: dict[str, Any] = field(default_factory=dict)
    build: Build = field(default_factory=Build)
    secrets: Secrets = field(default_factory=Secrets)


PLAIN = (
    "filename", "image", "description", "parameters", "load_mode", "default_class", "default_content_type",
    "error_stream", "tracking_stream", "sampling_percentage", "data_hosts", "env", "triggers", "graph_initializer",
    *PLACEMENT,
)  # fmt: skip
KEYS = (*PLAIN, "graph", "functions", "build", "secret_sources")
KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    **PLACEMENT_KINDS,
    "parameters": (Mapping, "a mapping"), "env": (Mapping, "a mapping"), "triggers": (Mapping, "a mapping"),
    "data_hosts": (list, "a list of hosts"), "default_class": (object, "a class"),
    "sampling_percentage": ((int, float), "a number"),
}  # fmt: skip
INERT = (
    "add_templated_ingress_host_mode", "allow_empty_resources", "args", "base_spec", "clone_target_dir", "config",
    "default_handler", "disable_auto_mount", "function_handler", "function_kind", "model_endpoint_creation_task_name",
    "models", "mount_applied", "no_cache", "preemption_mode", "source", "state_thresholds", "track_models", "workdir",
)  # fmt: skip
"""Keys of MLRun's function files that say how its platform runs a function."""
INERT_BUILD = ("auto_build", "code_origin", "extra", "extra_args", "image", "load_source_on_run", "origin_filename",
               "registry", "secret", "source", "with_mlrun")  # fmt: skip
INERT_METADATA = ("categories", "credentials", "description", "hash", "uid", "updated")


UNSAID = FunctionSpec()


def spec_to_dict(spec: FunctionSpec, *, pickle: bool = False) -> dict[str, Any]:
    """The spec as plain data; values of inline secrets are left out, their names are not."""
    found: dict[str, Any] = {}
    for key in PLAIN:
        value = getattr(spec, key)
        if value is not None and value != "" and value != getattr(UNSAID, key):
            found[key] = to_plain(value, where=f"spec.{key}", pickle=pickle and key == "default_class")
    if spec.graph is not None:
        found["graph"] = to_dict(spec.graph, pickle=pickle)
    if spec.functions:
        found["functions"] = {name: child.to_dict(pickle=pickle) for name, child in spec.functions.items()}
    build = {one.name: getattr(spec.build, one.name) for one in fields(Build) if getattr(spec.build, one.name)}
    if build:
        found["build"] = build
    if sources := spec.secrets.to_spec():
        found["secret_sources"] = sources
    return found


def spec_from_dict(values: Any, *, trusted: bool = False) -> FunctionSpec:
    """The spec in plain data, without its child functions; unknown keys are refused.

    What MLRun writes for its own platform is left out, with one warning.
    """
    values = _without_inert(_with_triggers_of_config(values), "spec", INERT)
    if "command" in values:
        values["filename"] = values.pop("command") or values.get("filename")
    for key in values:
        if key not in KEYS:
            raise SpecError(f"spec has an unknown key '{key}'{near(str(key), KEYS)}")
    plain = {key: values[key] for key in PLAIN if values.get(key) is not None}
    if isinstance(plain.get("env"), list):
        plain |= _read_env(plain["env"], plain.get("env_from_secrets") or {})
    if "default_class" in plain:
        plain["default_class"] = unpickled(plain["default_class"], step="default_class", trusted=trusted)
    _check_kinds(plain)
    spec = FunctionSpec(**plain)
    if values.get("graph") is not None:
        spec.graph = root_from_dict(values["graph"], trusted=trusted)
    build = _without_inert(values.get("build") or {}, "spec.build", INERT_BUILD)
    if build.pop("functionSourceCode", None) and not spec.filename:
        raise SpecError("spec.build.functionSourceCode holds code: write it to a file and name that in spec.filename")
    spec.build = Build(**checked(build, Build, "spec.build"))
    spec.secrets = Secrets.from_spec(values.get("secret_sources") or [])
    return spec


def _check_kinds(values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        kind, what = KINDS.get(key, (str, "a text"))
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise SpecError(f"spec.{key} must be {what}, not {value!r:.60}")
    for name, trigger in values.get("triggers", {}).items():
        if not isinstance(trigger, Mapping):
            raise SpecError(f"spec.triggers: '{name}' must be a mapping with its kind, not {trigger!r:.60}")


def _with_triggers_of_config(values: Any) -> Any:
    """With the triggers taken from where MLRun writes them: ``config: {"spec.triggers.http": {…}}``."""
    config = values.get("config") if isinstance(values, Mapping) else None
    start = "spec.triggers."
    if not isinstance(config, Mapping) or not any(str(key).startswith(start) for key in config):
        return values
    triggers = {key.removeprefix(start): one for key, one in config.items() if key.startswith(start)}
    rest = {key: one for key, one in config.items() if not key.startswith(start)}
    return {**values, "config": rest, "triggers": triggers | dict(values.get("triggers") or {})}


def _read_env(listed: list[Any], secrets: dict[str, str]) -> dict[str, dict[str, str]]:
    """Kubernetes' list of environment variables, as MLRun writes it."""
    env, secrets = {}, dict(secrets)
    for one in listed:
        if not isinstance(one, Mapping) or "name" not in one:
            raise SpecError(f"spec.env is a mapping, or a list of mappings with name and value, not {one!r:.60}")
        reference = (one.get("valueFrom") or {}).get("secretKeyRef")
        if reference:
            secrets[one["name"]] = f"{reference['name']}/{reference['key']}"
        elif one.get("valueFrom"):
            raise SpecError(f"spec.env: {one['name']} has a valueFrom other than secretKeyRef; give its value")
        else:
            env[one["name"]] = str(one.get("value", ""))
    return {"env": env, "env_from_secrets": secrets}


def metadata_from_dict(values: Any) -> Metadata:
    """Name and labels in plain data; unknown keys are refused."""
    values = _without_inert(values, "metadata", INERT_METADATA)
    found = {key: one for key, one in checked(values, Metadata, "metadata").items() if one is not None}
    for key in ("name", "project", "tag"):
        if not isinstance(found.get(key, ""), str):
            raise SpecError(f"metadata.{key} must be a text, not {found[key]!r:.60}")
    return Metadata(**found)


def _without_inert(values: Any, where: str, inert: Collection[str]) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise SpecError(f"{where} must be a mapping, not {type(values).__name__}")
    dead = [key for key in values if key in inert and values[key] not in (None, "", False, [], {})]
    if dead:
        warn_inert(**dict.fromkeys([f"{where}.{key}" for key in dead], True))
    return {key: value for key, value in values.items() if key not in inert}


def checked(values: Any, cls: type, where: str) -> dict[str, Any]:
    """Plain data for a dataclass; unknown keys are refused."""
    if not isinstance(values, dict):
        raise SpecError(f"{where} must be a mapping, not {type(values).__name__}")
    known = [one.name for one in fields(cls)]
    for key in values:
        if key not in known:
            raise SpecError(f"{where} has an unknown key '{key}'{near(key, known)}")
    return values
