"""What is left to do for steps, threads and processes when an engine ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ...deferred import asyncio
from .loop import LoopThread

logger = logging.getLogger("millrace.engine")

CLOSE_SECONDS = 5.0


async def close_all(steps: Mapping[str, Any]) -> None:
    """Call ``aclose()`` of the steps that have it, each for at most 5 s; what fails is logged.

    :param steps: step objects by path
    """
    for path, step in steps.items():
        aclose = getattr(step, "aclose", None)
        try:
            if aclose is not None:
                await asyncio.wait_for(aclose(), CLOSE_SECONDS)
        except Exception as error:
            logger.warning("step '%s' could not be closed: %s: %s", path, type(error).__name__, error)


def let_go_of(thread: LoopThread, *pools: Any) -> None:
    """End what an engine leaves behind that was forgotten and never closed."""
    thread.stop(wait=False)
    for pool in (pool for group in pools for pool in group):
        pool.close()
