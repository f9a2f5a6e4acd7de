"""Millrace: a serving-graph engine.

A graph of Python steps is written once and runs in a notebook behind a mock server, over HTTP with one command, as
processes joined by streams, and as deployed functions::

    import millrace

    fn = millrace.new_function("hello", kind="serving")
    fn.set_topology("flow").to(name="greet", handler="('hello ' + event)").respond()
    print(fn.to_mock_server().test(body="world", content_type="text/plain"))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import errors, queues, serving, steps
    from .serving.engine.context import GraphContext
    from .serving.engine.event import Event, MockEvent, Response
    from .serving.functions.function import ServingFunction
    from .serving.functions.load import code_to_function, import_function, new_function
    from .serving.functions.modifiers import v3io_cred
    from .serving.graph.options import StepOptions

__version__ = "0.1.0"

_MODULES = ("errors", "queues", "serving", "steps")
_PLACES = {
    "GraphContext": ".serving.engine.context",
    "Event": ".serving.engine.event", "MockEvent": ".serving.engine.event", "Response": ".serving.engine.event",
    "ServingFunction": ".serving.functions.function",
    "code_to_function": ".serving.functions.load", "import_function": ".serving.functions.load",
    "new_function": ".serving.functions.load",
    "StepOptions": ".serving.graph.options",
    "v3io_cred": ".serving.functions.modifiers",
}  # fmt: skip
_MOUNTS = ("auto_mount", "mount_configmap", "mount_pvc", "mount_secret", "mount_v3io", "platforms")

__all__ = [
    "Event", "GraphContext", "MockEvent", "Response", "ServingFunction", "StepOptions", "__version__",
    "code_to_function", "errors", "import_function", "new_function", "queues", "serving", "steps", "v3io_cred",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _PLACES:
        from .errors import near  # noqa: PLC0415 - for start-up: only when a name is wrong

        mlrun = "; what MLRun has and Millrace has not is listed in docs/coming-from-mlrun.md"
        mounts = "; give volumes with function.spec.volumes and volume_mounts, and keys of v3io with millrace.v3io_cred"
        hint = mounts if name in _MOUNTS else near(name, __all__) or mlrun
        raise AttributeError(f"module 'millrace' has no attribute '{name}'{hint}")
    value = getattr(importlib.import_module(_PLACES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
