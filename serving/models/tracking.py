"""Records of what models were asked and answered, for monitoring."""

from __future__ import annotations

import random
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..engine.context import GraphContext


class Tracker:
    """Writes a record of every request to the function's tracking stream, or of a sample of them.

    Records hold references to what was asked and answered, and are serialised at once; answers are never changed.
    """

    def __init__(self, context: GraphContext, model: Any) -> None:
        self._sink = context.tracking_sink
        self._percentage: float = context.sampling_percentage
        self._base = {
            "class": type(model).__name__,
            "worker": context.worker_id,
            "model": model.name,
            "version": model.version,
            "host": socket.gethostname(),
            "function_uri": context.name,
        }

    @property
    def is_on(self) -> bool:
        """Whether anybody wants the records."""
        return self._sink is not None

    def record(self, op: str, event_id: str, inputs: Any, outputs: Any, seconds: float, metrics: dict[str, Any]) -> None:
        """Write what was asked and answered.

        :param seconds: how long the model took
        """
        self._write(
            {"op": op, "request": {"id": event_id, "inputs": inputs}, "resp": {"outputs": outputs},
             "microsec": round(seconds * 1e6), "metrics": dict(metrics)}
        )  # fmt: skip

    def failure(self, op: str, event_id: str, inputs: Any, error: Exception) -> None:
        """Write what was asked and how it failed."""
        self._write({"op": op, "request": {"id": event_id, "inputs": inputs}, "error": f"{type(error).__name__}: {error}"})

    def _write(self, record: dict[str, Any]) -> None:
        if self._sink is None or (self._percentage < 100 and random.uniform(0, 100) >= self._percentage):
            return
        self._sink({**self._base, "when": str(datetime.now(UTC)), "sampling_percentage": self._percentage, **record})
