"""Graphs as dicts, in MLRun's layout, and back. Nothing is lost; what can not be written is an error that names it."""

from __future__ import annotations

import base64
import importlib
from dataclasses import dataclass, fields
from typing import Any

from ...errors import GraphError, SpecError, UntrustedPickle, near
from .flow import FlowStep
from .options import StepOptions
from .router import RouterStep
from .step import QueueStep, Step, TaskStep

KINDS: dict[str, type[Step]] = {kind.kind: kind for kind in (TaskStep, RouterStep, QueueStep, FlowStep)}
NOT_WRITTEN = ("name", "parent", "previous", "pending_cycles")
IGNORED_KEYS = ("model_endpoint_creation_strategy", "endpoint_type", "model_endpoints_routes_names", "base_step")
PICKLE = "$pickle"


def to_dict(step: Step, *, pickle: bool = False) -> dict[str, Any]:
    """A node and all in it as plain data.

    :param pickle: write objects that do not import by name as cloudpickle; else they are an error

    >>> graph = FlowStep()
    >>> _ = graph.to(name="double", handler="(event * 2)").respond()
    >>> to_dict(graph)
    {'kind': 'flow', 'steps': {'double': {'kind': 'task', 'responder': True, 'handler': '(event * 2)'}}}
    """
    writer = _Writer(pickle)
    found: dict[str, Any] = {"kind": step.kind}
    for field in fields(step):
        value = getattr(step, field.name)
        if field.name in NOT_WRITTEN or value is None or value is False or value in ({}, []):
            continue
        if field.name in ("steps", "routes"):
            value = {name: to_dict(one, pickle=pickle) for name, one in value.items()}
        elif field.name == "options":
            value = value.given()
            if not value:
                continue
        else:
            value = writer.plain(value, step.path or step.name)
        found[field.name] = value
    return found


def from_dict(spec: dict[str, Any], *, name: str = "", trusted: bool = False) -> Step:
    """The node that :func:`to_dict` (or MLRun) wrote; unknown keys are refused.

    :param trusted: unpickle objects, which runs code
    """
    if not isinstance(spec, dict):
        raise SpecError(f"step '{name}' must be a mapping, not {type(spec).__name__}")
    spec = dict(spec)
    kind = spec.pop("kind", None) or ("flow" if "steps" in spec else "router" if "routes" in spec else "task")
    followers = _listed(spec.pop("before", None)) if kind == "error_step" else []
    cls = KINDS.get("task" if kind == "error_step" else kind)
    if cls is None:
        raise SpecError(f"step '{name}' is of unknown kind '{kind}'{near(str(kind), KINDS)}")
    step = _with_values(cls(name=name), spec, name, trusted)
    step._rejoins = followers  # type: ignore[attr-defined]
    return step


def root_from_dict(spec: dict[str, Any], *, trusted: bool = False) -> FlowStep | RouterStep:
    """The root of a graph."""
    root = from_dict(spec, trusted=trusted)
    if not isinstance(root, (FlowStep, RouterStep)):
        raise SpecError(f"a graph is a flow or a router, not a {root.kind}")
    return root


def _with_values(step: Step, spec: dict[str, Any], name: str, trusted: bool) -> Step:
    known = {field.name for field in fields(step)} - set(NOT_WRITTEN)
    for key, value in spec.items():
        if key in IGNORED_KEYS or (key == "name" and value == name):
            continue
        if key == "options" and isinstance(step, QueueStep) and not _are_options(value):
            step.full_event = value.pop("full_event", step.full_event)
            step.backend = value
        elif key == "options":
            step.options = StepOptions.from_dict(value)
        elif key == "steps" and isinstance(step, FlowStep):
            _fill(step, value, trusted)
        elif key == "routes" and isinstance(step, RouterStep):
            for route, one in value.items():
                step.put(route, from_dict(one, name=route, trusted=trusted))
        elif key not in known:
            raise SpecError(f"step '{name}' has an unknown key '{key}'{near(key, known)}")
        else:
            setattr(step, key, _read(value, name, trusted))
    step.after = [one for one in _listed(step.after) if one]
    return step


def _are_options(value: Any) -> bool:
    return isinstance(value, dict) and all(key in StepOptions.__slots__ for key in value)


def _fill(flow: FlowStep, steps: Any, trusted: bool) -> None:
    if not isinstance(steps, dict):
        raise SpecError(f"the steps of flow '{flow.name}' must be a mapping of names to steps")
    for name, spec in steps.items():
        step = from_dict(spec, name=name, trusted=trusted)
        step.parent = flow
        flow.steps[name] = step
        flow.previous = name
    for name, step in flow.steps.items():
        for follower in step.__dict__.pop("_rejoins", []):
            if follower in flow.steps:
                flow.steps[follower].after_step(name)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


@dataclass
class _Writer:
    pickle: bool

    def plain(self, value: Any, path: str) -> Any:
        """A value of a step as plain data."""
        if value is None or isinstance(value, (str, int, float, bool)):
            return value
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {key: self.plain(one, path) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.plain(one, path) for one in value]
        name = import_name(value)
        if name is not None:
            return name
        if not self.pickle:
            raise GraphError(
                f"step '{path}' holds {value!r:.80}, which does not import by name; put it into a module, "
                "or write it with to_yaml(pickle=True) and load it with trusted=True"
            )
        return {PICKLE: _pickled(value, path)}


def import_name(value: Any) -> str | None:
    """The dotted name under which a class or function imports, or ``None``."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__" or "<" in name:
        return None
    if module.startswith(CODE_MODULE):
        return name
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return f"{module}.{name}" if found is value else None


CODE_MODULE = "millrace_code_"
"""The first part of the names of modules made from a function's own code file, in which names are looked up anyway."""


def _pickled(value: Any, path: str) -> str:
    import cloudpickle  # noqa: PLC0415 - only when asked for

    try:
        return base64.b64encode(cloudpickle.dumps(value)).decode()
    except Exception as error:
        raise GraphError(f"step '{path}': {value!r:.80} does not pickle: {error}") from error


def _read(value: Any, name: str, trusted: bool) -> Any:
    if isinstance(value, dict):
        if PICKLE in value:
            if not trusted:
                raise UntrustedPickle(name)
            import cloudpickle  # noqa: PLC0415 - only when trusted

            return cloudpickle.loads(base64.b64decode(value[PICKLE]))
        return {key: _read(one, name, trusted) for key, one in value.items()}
    if isinstance(value, list):
        return [_read(one, name, trusted) for one in value]
    return value


