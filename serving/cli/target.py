"""From ``FILE[:NAME]`` to the function, without loading anything for ``millrace --help``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine.names import Source
    from ..functions.function import ServingFunction


def load(target: str, *, trusted: bool) -> tuple[ServingFunction, list[Source]]:
    """The function that a file makes, and the file's own names; see :func:`..functions.load.load_target`."""
    from ..functions.load import load_target  # noqa: PLC0415 - for start-up

    return load_target(target, trusted=trusted)
