"""What a function is, as data: metadata and spec, to and from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import yaml

from ...errors import SpecError, near
from ..engine.secrets import Secrets
from ..graph.dump import root_from_dict, to_dict
from ..graph.flow import FlowStep
from ..graph.router import RouterStep

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
class FunctionSpec:
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
    data_hosts: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    triggers: dict[str, Any] = field(default_factory=dict)
    build: Build = field(default_factory=Build)
    secrets: Secrets = field(default_factory=Secrets)


PLAIN = (
    "filename", "image", "description", "parameters", "load_mode", "default_class", "default_content_type",
    "error_stream", "data_hosts", "env", "triggers",
)  # fmt: skip
KEYS = (*PLAIN, "graph", "functions", "build", "secret_sources")


def spec_to_dict(spec: FunctionSpec, *, pickle: bool = False) -> dict[str, Any]:
    """The spec as plain data; values of inline secrets are left out, their names are not."""
    found: dict[str, Any] = {}
    for key in PLAIN:
        value = getattr(spec, key)
        if value not in (None, "", {}, []):
            found[key] = value
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


def spec_from_dict(values: dict[str, Any], *, trusted: bool = False) -> FunctionSpec:
    """The spec in plain data, without its child functions; unknown keys are refused."""
    if not isinstance(values, dict):
        raise SpecError(f"spec must be a mapping, not {type(values).__name__}")
    for key in values:
        if key not in KEYS:
            raise SpecError(f"spec has an unknown key '{key}'{near(key, KEYS)}")
    spec = FunctionSpec(**{key: values[key] for key in PLAIN if key in values})
    if "graph" in values:
        spec.graph = root_from_dict(values["graph"], trusted=trusted)
    spec.build = Build(**checked(values.get("build", {}), Build, "spec.build"))
    spec.secrets = Secrets.from_spec(values.get("secret_sources", []))
    return spec


def checked(values: Any, cls: type, where: str) -> dict[str, Any]:
    """Plain data for a dataclass; unknown keys are refused."""
    if not isinstance(values, dict):
        raise SpecError(f"{where} must be a mapping, not {type(values).__name__}")
    known = [one.name for one in fields(cls)]
    for key in values:
        if key not in known:
            raise SpecError(f"{where} has an unknown key '{key}'{near(key, known)}")
    return values


def dump_yaml(values: dict[str, Any]) -> str:
    """YAML text in the order of the data."""
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    return text


def load_yaml(text: str, *, source: str) -> dict[str, Any]:
    """The mapping in YAML text; errors name the file and the line."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise SpecError(f"{source}{line}: not YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(values, dict):
        raise SpecError(f"{source}: a function is a mapping with kind, metadata and spec")
    return values
