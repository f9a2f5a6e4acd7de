"""From what a user writes to the node it means: ``"Echo"``, ``"*Router"``, ``"$queue"``, ``">>"``, objects."""

from __future__ import annotations

from typing import Any

from ...errors import GraphError, near
from .router import make_task
from .step import QueueStep, Step

QUEUE_NOTATIONS = (">>", "$queue")
QUEUE_ARGUMENTS = ("path", "shards", "retention_in_hours", "trigger_args")
QUEUE_BACKEND_ARGUMENTS = (
    "group", "kafka_brokers", "kafka_bootstrap_servers", "access_key", "dead_letters", "dead_letter", "ordering",
    "retries", "backoff_seconds", "on_failure", "max_in_flight", "commit_seconds", "drain_seconds", "start",
    "exactly_once", "retention_bytes", "options", "secrets", "content_type",
)  # fmt: skip


def make_step(class_name: Any, name: str | None, handler: Any, class_args: dict[str, Any]) -> Step:
    """The node for one ``to(…)`` or ``add_step(…)``, named but not yet in a flow."""
    if isinstance(class_name, Step):
        return _given(class_name, name, handler, class_args)
    if isinstance(class_name, str) and class_name in QUEUE_NOTATIONS:
        return _queue(name, handler, class_args)
    if class_name is None and handler is None:
        raise GraphError(f"step {name or ''!r}: give class_name= or handler=")
    name = name or default_name(class_name, handler)
    step = make_task(class_name, handler, class_args, where=f"step '{name}'")
    step.name = name
    return step


def _given(step: Step, name: str | None, handler: Any, class_args: dict[str, Any]) -> Step:
    if handler is not None or class_args:
        raise GraphError(f"step '{name or step.name}' is complete, it takes no handler or further arguments")
    if step.parent is not None:
        raise GraphError(f"step '{step.name}' is already in the flow '{step.parent.full_name or step.parent.name}'")
    step.name = name or step.name
    if not step.name:
        raise GraphError(f"the {step.kind} step needs a name=")
    return step


def _queue(name: str | None, handler: Any, arguments: dict[str, Any]) -> QueueStep:
    if not name:
        raise GraphError('a queue needs a name: graph.to(">>", "my-queue", path=…)')
    if handler is not None:
        raise GraphError(f"queue '{name}' takes no handler=; let the step before or after it do that")
    known = {key: arguments.pop(key) for key in QUEUE_ARGUMENTS if arguments.get(key) is not None}
    for key in arguments:
        if key not in (*QUEUE_BACKEND_ARGUMENTS, *QUEUE_ARGUMENTS):
            names = (*QUEUE_ARGUMENTS, *QUEUE_BACKEND_ARGUMENTS)
            raise GraphError(f"queue '{name}' has no parameter '{key}'{near(key, names)}")
    return QueueStep(name=name, backend={k: v for k, v in arguments.items() if k in QUEUE_BACKEND_ARGUMENTS}, **known)


def default_name(class_name: Any, handler: Any) -> str:
    """The name of a step for which none was given: that of its class or function."""
    target = handler if class_name is None else class_name
    if isinstance(target, str):
        name = target.lstrip("*").split(".")[-1].split("/")[-1]
        if class_name is not None and target.startswith("*") and not name:
            return "router"
    else:
        own = None if isinstance(target, type) else getattr(target, "name", None)
        name = own if isinstance(own, str) and own else getattr(target, "__name__", type(target).__name__)
    if not name.isidentifier() and not name.replace("-", "_").isidentifier():
        raise GraphError(f"the step of {target!r} needs a name=")
    return name
