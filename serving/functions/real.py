"""The real streams of a function: where they are, who reads them, and what feeds its graph."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..doors.queue_steps import queue_steps, readers_of
from ..doors.queues import MemoryStreams, Streams
from ..engine.context import GraphContext
from ..graph.flow import FlowStep
from .triggers import cron_triggers, stream_triggers, triggers_of

if TYPE_CHECKING:
    from ..doors.streams import RealStreams
    from .function import ServingFunction

logger = logging.getLogger("millrace.stream")

DEFAULT_FOLDER = Path(".millrace/streams")


@dataclass(frozen=True, slots=True)
class StreamsAt:
    """Where streams are that name no address.

    :param folder: as embedded logs in this folder; ``None``: in memory
    :param kind: what reads them; default: real ones, where the function has any
    """

    folder: Path | None = None
    kind: type[RealStreams] | None = None


def real_streams(function: ServingFunction, context: GraphContext, at: StreamsAt) -> Streams:
    """The streams of a function, or of its child that the context names."""
    if at.kind is None and not _has_streams(function):
        return MemoryStreams()
    from ..doors.streams import RealStreams  # noqa: PLC0415 - for start-up: most servers read none
    from ..doors.wiring import Wiring  # noqa: PLC0415

    kind = at.kind or RealStreams
    wiring = Wiring(function.name, context.current_function, at.folder, context.get_secret)
    graph = function.graph
    owner = function.spec.functions.get(context.current_function, function)
    given: dict[str, Any] = {
        "readers": readers_of(graph) if isinstance(graph, FlowStep) else {},
        "triggers": stream_triggers(owner.spec.triggers, wiring),
        "crons": cron_triggers(owner.spec.triggers) if kind is RealStreams else (),  # Nuclio has clocks of its own
    }
    children = _with_triggers(function) if context.current_function == "*" and kind is RealStreams else {}
    if not children:
        return kind(wiring, **given)
    from ..doors.child_triggers import StreamsOfAll, own_queues  # noqa: PLC0415

    feeding = {}
    for name, child in children.items():
        if own_queues(given["readers"], name):
            wires = stream_triggers(child.spec.triggers, replace(wiring, current=name))
            feeding[name] = (wires, cron_triggers(child.spec.triggers))
        else:
            _warn_of_triggers(name, child)
    return StreamsOfAll(wiring, of_children=feeding, **given)


def _with_triggers(function: ServingFunction) -> dict[str, ServingFunction]:
    """The child functions that something but requests feeds from outside."""
    children = function.spec.functions.items()
    return {name: one for name, one in children if any(each.kind != "http" for each in triggers_of(one.spec.triggers))}


def _warn_of_triggers(name: str, child: ServingFunction) -> None:
    idle = ", ".join(one.name for one in triggers_of(child.spec.triggers) if one.kind != "http")
    logger.warning(
        "the triggers %s of child function '%s' do nothing in one process, as it does not begin behind a queue of its "
        "own; use millrace up", idle, name,
    )  # fmt: skip


def _has_streams(function: ServingFunction) -> bool:
    spec = function.spec
    triggers = [spec.triggers, *(child.spec.triggers for child in spec.functions.values())]
    return bool(any(triggers) or spec.error_stream or spec.tracking_stream or any(queue_steps(function.graph)))
