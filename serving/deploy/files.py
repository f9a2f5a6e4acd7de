"""Writing a folder of files so that doing it again changes nothing, and nothing is left of what was there before."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ...errors import SpecError

LIST = ".millrace-export"
HEAD = "# Written by millrace export, which removes these files when it no longer writes them.\n"


def contents(files: Mapping[str, str | Path]) -> dict[str, bytes]:
    """The contents of files by path: their text in UTF-8, or what is in the file to copy.

    >>> contents({"a.txt": "A"})
    {'a.txt': b'A'}
    """
    return {place: one.read_bytes() if isinstance(one, Path) else one.encode() for place, one in files.items()}


def write_files(folder: Path, files: Mapping[str, str | Path]) -> None:
    """Write files into a folder. A file that is there already with the same content is not touched.

    Files of an earlier export that are not among these are removed; others stay.

    :raises SpecError: the folder is a file, or holds files of somebody else at the same places
    """
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"'{folder}' is a file; give a folder to export to, such as '{folder}.d'")
    earlier = _listed(folder)
    for place in (*files, LIST):
        _check_free(folder, place, is_ours=place in earlier or place == LIST)
    for place in sorted(earlier - set(files)):
        _remove(folder, place)
    for place, one in sorted({**files, LIST: _list(files)}.items()):
        _write(folder / place, one)


def _check_free(folder: Path, place: str, *, is_ours: bool) -> None:
    """Refuse to write where something of somebody else is."""
    *above, file = (folder / part for part in (*reversed(Path(place).parents[:-1]), Path(place)))
    others = [one for one in above if os.path.lexists(one) and not one.is_dir()]
    if os.path.lexists(file) and not (is_ours and file.is_file()):
        others.append(file)
    if others:
        raise SpecError(
            f"'{others[0]}' is there already and was not written by an export; export to another folder, or move it "
            "away"
        )


def _list(files: Mapping[str, str | Path]) -> str:
    return HEAD + "".join(f"{place}\n" for place in sorted(files))


def _listed(folder: Path) -> set[str]:
    """The files that an earlier export wrote into the folder."""
    file = folder / LIST
    if not file.is_file():
        return set()
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    inside = (line for line in lines if line and not line.startswith(("#", "/")))
    return {line for line in inside if ".." not in Path(line).parts and Path(line).parts}


def _remove(folder: Path, place: str) -> None:
    file = folder / place
    if file.is_file() or file.is_symlink():
        file.unlink()
    for parent in file.relative_to(folder).parents:
        inside = folder / parent
        if inside != folder and inside.is_dir() and not any(inside.iterdir()):
            inside.rmdir()


def _write(file: Path, one: str | Path) -> None:
    if file.is_file() and _is_same(file, one):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(one, Path):
        shutil.copyfile(one, file)  # a model may be larger than the memory
    else:
        file.write_bytes(one.encode())


def _is_same(file: Path, one: str | Path) -> bool:
    return filecmp.cmp(one, file, shallow=False) if isinstance(one, Path) else file.read_bytes() == one.encode()
