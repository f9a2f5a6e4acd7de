"""Functions, graphs, model servers and the doors that events come in by.

Names are imported when they are first used, so that ``import millrace.serving`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..steps import Batch, BatchHttpRequests, Choice, ChoiceByField, Merge, RemoteStep
    from .deploy.dashboard_access import DashboardAccess
    from .deploy.dashboard_errors import DeployError
    from .doors.mock import MockServer
    from .engine.clock import FakeClock, SystemClock
    from .engine.context import GraphContext
    from .engine.event import Event, MockEvent, MockTrigger, Response
    from .functions.function import ServingFunction
    from .graph import FlowStep, QueueStep, RouterStep, StepOptions, TaskStep
    from .models.parallel import ParallelRun
    from .models.router import BaseModelRouter, ModelRouter
    from .models.server import V2ModelServer
    from .models.voting import VotingEnsemble

_PLACES = {
    "Batch": "..steps", "BatchHttpRequests": "..steps", "Choice": "..steps", "ChoiceByField": "..steps",
    "Merge": "..steps", "RemoteStep": "..steps",
    "DashboardAccess": ".deploy.dashboard_access", "DeployError": ".deploy.dashboard_errors",
    "MockServer": ".doors.mock",
    "FakeClock": ".engine.clock", "SystemClock": ".engine.clock",
    "GraphContext": ".engine.context",
    "Event": ".engine.event", "MockEvent": ".engine.event", "MockTrigger": ".engine.event",
    "Response": ".engine.event",
    "ServingFunction": ".functions.function",
    "FlowStep": ".graph", "QueueStep": ".graph", "RouterStep": ".graph", "StepOptions": ".graph", "TaskStep": ".graph",
    "ParallelRun": ".models.parallel",
    "BaseModelRouter": ".models.router", "ModelRouter": ".models.router",
    "V2ModelServer": ".models.server",
    "VotingEnsemble": ".models.voting",
}  # fmt: skip

__all__ = [
    "BaseModelRouter", "Batch", "BatchHttpRequests", "Choice", "ChoiceByField", "DashboardAccess", "DeployError",
    "Event", "FakeClock", "FlowStep", "GraphContext", "Merge", "MockEvent", "MockServer", "MockTrigger", "ModelRouter",
    "ParallelRun", "QueueStep", "RemoteStep", "Response", "RouterStep", "ServingFunction", "StepOptions", "SystemClock",
    "TaskStep", "V2ModelServer", "VotingEnsemble",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        from ..errors import near  # noqa: PLC0415 - for start-up: only when a name is wrong

        raise AttributeError(f"module 'millrace.serving' has no attribute '{name}'{near(name, __all__)}")
    value = getattr(importlib.import_module(_PLACES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
