"""Writing a function for a platform: units first, then the files of the target, then all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import SpecError
from ..deploy.compose import compose
from ..deploy.docker import image_files
from ..deploy.files import write_files
from ..deploy.kubernetes import manifests
from ..deploy.nuclio_config import nuclio_config, nuclio_files
from ..deploy.target import Target
from ..deploy.unit import Files, Unit
from .text import dump_documents
from .units import units_of

if TYPE_CHECKING:
    from .described import Described

ORDER = "order.txt"


def export_to(
    function: Described, target: str, folder: str | None, *, pickle: bool, wheel: str | None, **choices: Any
) -> str:
    """Write all that a platform needs to run a function into a folder, and return the folder.

    :param wheel: a wheel file to install Millrace from
    :param choices: those of :class:`~millrace.serving.deploy.target.Target`
    :raises SpecError: something can not be deployed there; nothing was written
    """
    if not folder:
        raise SpecError(f"export('{target}') writes several files: give the folder, as export('{target}', '{target}/')")
    given = {name: value for name, value in choices.items() if value is not None}
    if wheel is not None and not (Path(wheel).is_file() and wheel.endswith(".whl")):
        raise SpecError(f"wheel='{wheel}' is no wheel file here; build one with `python -m build --wheel`")
    chosen = Target(name=target, wheel=Path(wheel).name if wheel else None, **given)
    units = units_of(function, chosen, pickle=pickle)  # type: ignore[arg-type]
    write_files(Path(folder), bundle(units, Path(wheel) if wheel else None))
    return folder


def bundle(units: list[Unit], wheel: Path | None = None) -> Files:
    """All files of an export, by path in its folder."""
    return RENDERERS[units[0].target.name](units, {wheel.name: wheel} if wheel is not None else {})


def _nuclio(units: list[Unit], wheel: Files) -> Files:
    found: Files = {ORDER: "".join(f"{unit.full_name}\n" for unit in units)}
    for unit in units:
        files: Mapping[str, str | Path] = {
            "function.yaml": dump_documents([nuclio_config(unit)]), **nuclio_files(unit), **wheel,
        }  # fmt: skip
        found |= {f"{unit.full_name}/{place}": one for place, one in files.items()}
    return found


def _docker(units: list[Unit], wheel: Files) -> Files:
    return {**image_files(units), **wheel}


def _image(units: list[Unit], wheel: Files) -> Files:
    return {f"image/{place}": one for place, one in _docker(units, wheel).items()}


def _kubernetes(units: list[Unit], wheel: Files) -> Files:
    found = {f"{name}.yaml": dump_documents(documents) for name, documents in manifests(units).items()}
    return {**found, **_image(units, wheel)}


def _compose(units: list[Unit], wheel: Files) -> Files:
    found: Files = {"compose.yaml": dump_documents([compose(units)])}
    return {**found, **_image(units, wheel)}


RENDERERS: dict[str, Callable[[list[Unit], Files], Files]] = {
    "nuclio": _nuclio, "docker": _docker, "kubernetes": _kubernetes, "compose": _compose,
}  # fmt: skip
