"""From ``FILE[:NAME]`` to the function and to where the names in its graph are found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine.names import Source
    from ..functions.function import ServingFunction


def load(target: str, *, trusted: bool) -> tuple[ServingFunction, list[Source]]:
    """The function that a file makes, and the file's own names.

    :param trusted: unpickle the objects of a YAML file, which runs code
    :raises SpecError: there is no such file or function, or the file does not import
    """
    # For start-up: `millrace --help` needs none of it.
    from ..functions.code import load_code  # noqa: PLC0415
    from ..functions.load import load_function  # noqa: PLC0415

    filename = target if Path(target).is_file() else target.rpartition(":")[0] or target
    function = load_function(target, trusted=trusted)
    return function, [load_code(filename)] if Path(filename).suffix in (".py", ".ipynb") else []
