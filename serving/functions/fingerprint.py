"""Whether something has changed since it was looked at last."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from ..graph.step import Step
from .described import Described


def fingerprint(value: Any) -> str:
    """All that there is in a spec or a graph, as text; two that are alike have the same, in one process.

    >>> from millrace.serving.graph import FlowStep
    >>> graph = FlowStep()
    >>> before = fingerprint(graph)
    >>> _ = graph.to(name="a", handler="(event)")
    >>> fingerprint(graph) == before
    False
    """
    if is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in fields(value) if not (one.name == "parent" and isinstance(value, Step))]
        return f"{type(value).__name__}{fingerprint({name: getattr(value, name) for name in names})}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {fingerprint(one)}' for key, one in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(fingerprint, value))}]"
    if isinstance(value, Described):
        return fingerprint([value.metadata, value.spec])
    return repr(value)
