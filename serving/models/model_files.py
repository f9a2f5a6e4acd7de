"""Finding a model's file by its ``model_path``: a file, a folder, or an address in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ...errors import ModelNotReady
from ..engine.context import GraphContext

FILE = "file://"


def find_model(
    model_path: str | None, suffix: str, *, model: str, context: GraphContext
) -> tuple[str, dict[str, Any]]:
    """The model's file, and the other files of its folder by name.

    :param suffix: the end of the file's name; needed where a folder holds several files
    :raises ModelNotReady: there is no such file, or there are several
    :raises GraphError: no store serves the address
    """
    if not model_path:
        raise ModelNotReady(model, reason="it has no model_path")
    if "://" in model_path and not model_path.startswith(FILE):
        found = context.get_store_resource(model_path)
        return (str(found), {}) if isinstance(found, (str, Path)) else found
    path = Path(unquote(urlsplit(model_path).path) if model_path.startswith(FILE) else model_path).expanduser()
    if path.is_file():
        return str(path), {}
    if not path.is_dir():
        raise ModelNotReady(model, reason=f"there is no file or folder at model_path {str(path)!r}")
    files = sorted(one for one in path.iterdir() if one.is_file() and not one.name.startswith("."))
    matching = [one for one in files if one.name.endswith(suffix)]
    if len(matching) != 1:
        names = ", ".join(one.name for one in files[:10]) or "nothing"
        way_out = "; get_model(suffix) chooses one" if matching else ""
        what = f"{len(matching)} files *{suffix}" if matching else f"no file *{suffix}"
        raise ModelNotReady(model, reason=f"there is {what} in model_path {str(path)!r} (it has {names}){way_out}")
    return str(matching[0]), {one.name: str(one) for one in files if one != matching[0]}
