"""The real streams of a function: where they are, who reads them, and what feeds its graph."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..doors.queue_steps import readers_of
from ..doors.streams import RealStreams
from ..doors.wiring import Wiring
from ..engine.context import GraphContext
from ..graph.flow import FlowStep
from .triggers import cron_triggers, stream_triggers, triggers_of

if TYPE_CHECKING:
    from .function import ServingFunction

logger = logging.getLogger("millrace.stream")

DEFAULT_FOLDER = Path(".millrace/streams")


@dataclass(frozen=True, slots=True)
class StreamsAt:
    """Where streams are that name no address.

    :param folder: as embedded logs in this folder; ``None``: in memory
    :param kind: what reads them
    """

    folder: Path | None = None
    kind: type[RealStreams] = RealStreams


def real_streams(function: ServingFunction, context: GraphContext, at: StreamsAt) -> RealStreams:
    """The streams of a function, or of its child that the context names."""
    wiring = Wiring(function.name, context.current_function, at.folder, context.get_secret)
    graph = function.graph
    owner = function.spec.functions.get(context.current_function, function)
    if context.current_function == "*":
        _warn_of_triggers(function)
    return at.kind(
        wiring,
        readers=readers_of(graph) if isinstance(graph, FlowStep) else {},
        triggers=stream_triggers(owner.spec.triggers, wiring),
        crons=cron_triggers(owner.spec.triggers) if at.kind is RealStreams else (),  # Nuclio has clocks of its own
    )


def _warn_of_triggers(function: ServingFunction) -> None:
    """Where all child functions are one process, only the parent's triggers have a place to send events to."""
    for name, child in function.spec.functions.items():
        idle = [one.name for one in triggers_of(child.spec.triggers) if one.kind != "http"]
        if idle:
            logger.warning("the triggers %s of child function '%s' do nothing in one process; use millrace up",
                           ", ".join(idle), name)  # fmt: skip
