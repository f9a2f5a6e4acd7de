"""The engine of a plan, for the parts of it that run events themselves; set once the engine exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import Engine


class EngineLink:
    """Holds the engine that runs a plan."""

    engine: Engine
