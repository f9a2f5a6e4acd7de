"""The real streams of a function: where they are, who reads them, and what feeds its graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..doors.queue_steps import readers_of
from ..doors.streams import RealStreams
from ..doors.wiring import Wiring
from ..engine.context import GraphContext
from ..graph.flow import FlowStep
from .triggers import stream_triggers

if TYPE_CHECKING:
    from .function import ServingFunction

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
    readers = readers_of(graph) if isinstance(graph, FlowStep) else {}
    is_all = context.current_function == "*"
    owner = function.spec.functions.get(context.current_function, function)
    return at.kind(
        wiring,
        readers={name: 1 if is_all else len(names) for name, names in readers.items()},
        triggers=stream_triggers(owner.spec.triggers, wiring),
    )
