"""Everything that can be known to be wrong with a function before any of its objects is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import MillraceError
from ..doors.queue_steps import queue_problems
from ..engine.check import call_problems
from ..engine.context import GraphContext
from ..engine.names import Source
from ..graph.catching import catching_problems
from ..graph.checks import problems
from .logins import keep_logins
from .runtime import make_workshop

if TYPE_CHECKING:
    from .function import ServingFunction


def function_problems(function: ServingFunction, sources: list[Source]) -> list[MillraceError]:
    """The faults of a function's graph, then those of single steps: settings of queues, names that nothing has, wrong
    parameters.

    :param sources: where names are looked up first
    """
    keep_logins(function.spec)
    shop = make_workshop(function, sources, GraphContext(name=function.name))
    return [
        *problems(function.graph, function.spec.functions),
        *queue_problems(function.graph, function.name),
        *catching_problems(function.graph),
        *call_problems(function.graph, shop),
    ]
