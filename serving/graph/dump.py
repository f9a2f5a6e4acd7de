"""Graphs as dicts, in MLRun's layout, and back. Nothing is lost; what can not be written is an error that names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from ...errors import SpecError, UnknownStep, near
from .flow import FlowStep
from .logins import queue_login
from .options import StepOptions
from .plain import to_plain, unpickled
from .router import RouterStep
from .step import QueueStep, Step, TaskStep

KINDS: dict[str, type[Step]] = {kind.kind: kind for kind in (TaskStep, RouterStep, QueueStep, FlowStep)}
OTHER_KINDS: dict[str, type[Step]] = {"error_step": TaskStep, "root": FlowStep}
NOT_WRITTEN = ("name", "parent", "previous", "pending_cycles", "pending_rejoins")
FIRST = ("engine", "class_name", "class_args", "handler", "path", "function", "after")
LAST = ("steps", "routes")
IGNORED_KEYS = ("model_endpoint_creation_strategy", "endpoint_type", "model_endpoints_routes_names", "base_step")
LISTS, MAPPINGS = ("after", "cycle_from"), ("class_args", "trigger_args", "backend")
TEXTS = ("function", "on_error", "input_path", "result_path", "engine", "path")


def to_dict(step: Step, *, pickle: bool = False) -> dict[str, Any]:
    """A node and all in it as plain data.

    :param pickle: write objects that do not import by name as cloudpickle; else they are an error

    >>> graph = FlowStep()
    >>> _ = graph.to(name="double", handler="(event * 2)").respond()
    >>> to_dict(graph)
    {'kind': 'flow', 'steps': {'double': {'kind': 'task', 'handler': '(event * 2)', 'responder': True}}}
    """
    found: dict[str, Any] = {"kind": step.kind}
    logins = queue_login(step)[0] if isinstance(step, QueueStep) else {}  # without passwords
    for field in sorted(fields(step), key=_place):
        value = logins.get(field.name, getattr(step, field.name))
        if field.name in NOT_WRITTEN or _is_default(field, value):
            continue
        if field.name in LAST:
            value = {name: to_dict(one, pickle=pickle) for name, one in value.items()}
        elif field.name == "options":
            value = value.given()
        elif field.name == "class_args":
            value = _arguments(value, step.full_name, pickle)
        else:
            value = to_plain(value, where=f"step '{step.full_name}'", pickle=pickle)
        found[field.name] = value
    if isinstance(step, FlowStep):
        for source, target in step.pending_cycles:
            found["steps"][source].setdefault("cycle_to", []).append(target)
        for catcher, target in step.pending_rejoins:
            found["steps"][catcher]["kind"] = "error_step"
            found["steps"][catcher].setdefault("before", []).append(target)
    return found


def _place(field: Field[Any]) -> int:
    name = field.name
    return FIRST.index(name) if name in FIRST else len(FIRST) + (LAST.index(name) + 1 if name in LAST else 0)


def _is_default(field: Field[Any], value: Any) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return value is None or (type(value) is type(default) and bool(value == default))


def _arguments(values: dict[str, Any], path: str, pickle: bool) -> dict[str, Any]:
    """Arguments of a step's class; a function or class among them is written as ``_name``, by its own name."""
    found = {}
    for name, value in values.items():
        plain = to_plain(value, where=f"step '{path}'", pickle=pickle)
        is_name = isinstance(plain, str) and callable(value)
        found[f"_{name}" if is_name and not name.startswith("_") else name] = plain
    return found


def from_dict(spec: Any, *, name: str = "", trusted: bool = False) -> Step:
    """The node that :func:`to_dict` (or MLRun) wrote; unknown keys are refused.

    :param trusted: unpickle objects, which runs code
    """
    if not isinstance(spec, Mapping):
        raise SpecError(f"step '{name}' must be a mapping, not {type(spec).__name__}")
    values = dict(spec)
    kind = values.pop("kind", None) or ("flow" if "steps" in values else "router" if "routes" in values else "task")
    cls = (OTHER_KINDS.get(kind) or KINDS.get(kind)) if isinstance(kind, str) else None
    if cls is None:
        raise SpecError(f"step '{name}' is of unknown kind '{kind}'{near(str(kind), KINDS)}")
    if kind == "error_step":
        values.pop("before", None)
    if cls is QueueStep and "options" in values and not _are_options(values["options"]):
        values = _with_queue_options(values, name)
    return _filled(cls(name=name), values, name, trusted)


def root_from_dict(spec: Any, *, trusted: bool = False) -> FlowStep | RouterStep:
    """The root of a graph."""
    root = from_dict(spec, trusted=trusted)
    if not isinstance(root, (FlowStep, RouterStep)):
        raise SpecError(f"a graph is a flow or a router, not a {root.kind}")
    return root


def _are_options(value: Any) -> bool:
    return isinstance(value, Mapping) and all(key in StepOptions.__slots__ for key in value)


def _with_queue_options(values: dict[str, Any], name: str) -> dict[str, Any]:
    """MLRun's layout of a queue: what Millrace calls `backend` is in its options, and so is ``full_event``."""
    options = dict(_checked("options", values.pop("options"), Mapping, "a mapping", name))
    full_event = options.pop("full_event", values.get("full_event"))
    return values | {"full_event": full_event, "backend": options | dict(values.get("backend") or {})}


def _filled(step: Step, spec: dict[str, Any], name: str, trusted: bool) -> Step:
    known = {field.name for field in fields(step)} - set(NOT_WRITTEN)
    for key, value in spec.items():
        if key in IGNORED_KEYS or value is None or (key == "name" and value in (name, "")):
            continue
        if key == "cycle_to":
            continue
        if key not in known:
            raise SpecError(f"step '{name}' has an unknown key '{key}'{near(str(key), known)}")
        if key in ("steps", "routes"):
            _fill(step, _checked(key, value, Mapping, "a mapping of names to steps", name), trusted)
        elif key == "options":
            step.options = StepOptions.from_dict(dict(_checked(key, value, Mapping, "a mapping", name)))
        else:
            setattr(step, key, _value(key, value, name, trusted))
    if isinstance(step, FlowStep):
        step.__post_init__()
    return step


def _value(key: str, value: Any, name: str, trusted: bool) -> Any:
    if key in LISTS:
        names = [one for one in _listed(value) if one]
        return [_checked(key, one, str, "a list of names", name) for one in names]
    if key in MAPPINGS:
        _checked(key, value, Mapping, "a mapping", name)
    elif key in TEXTS:
        _checked(key, value, str, "a text", name)
    elif key in ("responder", "full_event", "allow_cyclic"):
        _checked(key, value, bool, "true or false", name)
    return unpickled(value, step=name, trusted=trusted)


def _checked(key: str, value: Any, kind: type, what: str, name: str) -> Any:
    if not isinstance(value, kind):
        raise SpecError(f"step '{name}': {key} must be {what}, not {value!r:.60}")
    return value


def _fill(step: Step, specs: Mapping[str, Any], trusted: bool) -> None:
    if isinstance(step, RouterStep):
        for route, spec in specs.items():
            step.put(route, from_dict(spec, name=str(route), trusted=trusted))
    elif isinstance(step, FlowStep):
        for name, spec in specs.items():
            one = from_dict(spec, name=str(name), trusted=trusted)
            after, one.after = one.after, []
            step.insert_step(name, one)
            one.after = after
        for name, spec in specs.items():
            _join(step, name, spec)


def _join(flow: FlowStep, name: str, spec: Mapping[str, Any]) -> None:
    """What a step says of others, which may come later in the text."""
    if spec.get("kind") == "error_step":
        for follower in _listed(spec.get("before")):
            if follower not in flow.steps:
                raise UnknownStep(follower, graph=flow.title, role=f"before of step '{name}'", known=flow.steps)
            flow.steps[follower].after_step(name)
    for target in _listed(spec.get("cycle_to")):
        flow.steps[name].cycle_to(target)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]
