"""The hub: ready functions that are shipped with the package."""

from __future__ import annotations

from pathlib import Path

from ...errors import SpecError, near

HUB = "hub://"
HUB_FOLDER = Path(__file__).resolve().parents[2] / "hub"


def hub_file(url: str) -> Path:
    """The YAML file of ``hub://name``, where ``_`` and ``-`` are alike; a project and a tag in it are left out.

    >>> hub_file("hub://v2-model-server").parent.name
    'v2_model_server'
    """
    name = url.removeprefix(HUB).partition(":")[0].rpartition("/")[2]
    folders = {folder.name: folder for folder in HUB_FOLDER.iterdir() if (folder / "function.yaml").is_file()}
    folder = folders.get(name.replace("-", "_"))
    if folder is None:
        raise SpecError(f"the hub has no function '{name}'{near(name, folders)} (it has {', '.join(sorted(folders))})")
    return folder / "function.yaml"
