"""Graphs as plain data: building, checking, dumping and drawing them. Nothing here runs an event."""

from typing import Any

from .checks import problems, validate
from .flow import FlowStep
from .options import StepOptions
from .router import RouterStep
from .step import VIEWS, QueueStep, Step, TaskStep

__all__ = ["FlowStep", "QueueStep", "RouterStep", "Step", "StepOptions", "TaskStep", "problems", "validate"]


def _plot(*arguments: Any, **attributes: Any) -> Any:
    from .draw import plot  # noqa: PLC0415 - Graphviz is loaded when something is drawn

    return plot(*arguments, **attributes)


def _to_mermaid(*arguments: Any) -> str:
    from .mermaid import to_mermaid  # noqa: PLC0415 - loaded when something is drawn

    return to_mermaid(*arguments)


VIEWS.update(plot=_plot, to_mermaid=_to_mermaid)
