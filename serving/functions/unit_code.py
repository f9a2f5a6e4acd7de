"""The code of a deployed function: its file, and the files beside it that it imports."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import SpecError
from ..deploy.unit import Files
from .code import read_code

LEFT_OUT = ("__pycache__", ".ipynb_checkpoints")
STANDARD = ("millrace", "mlrun", "storey")
"""First parts of the names of Millrace's own steps."""


@dataclass
class Code:
    """The code files of a deployed function.

    :param version: the Python version that runs them
    :param files: by path in the function's folder
    :param imports: the modules that they import as they are loaded, and who does it, for errors
    """

    version: tuple[int, int]
    files: Files = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    _folders: dict[Path, str] = field(default_factory=dict)

    def add(self, filename: str, *, child: str = "") -> str:
        """Add a code file and the modules beside it that it imports; return its path in the function's folder.

        :param child: the child function that it belongs to
        :raises SpecError: it can not be read, or is no code of this Python version
        """
        file = Path(filename).resolve()
        name = "code" if not self._folders else f"code-{child or 'parent'}"
        folder = self._folders.setdefault(file.parent, name)
        place = f"{folder}/{file.stem}.py" if file.suffix == ".ipynb" else f"{folder}/{file.name}"
        text = read_code(filename)
        if file.suffix == ".ipynb" and file.with_suffix(".py").is_file():
            place = f"{folder}/{file.stem}_notebook.py"
        self.files[place] = text if text.endswith("\n") else f"{text}\n"
        self._add_neighbours(self._parsed(text, filename), file, folder)
        return place

    def _add_neighbours(self, tree: ast.Module, file: Path, folder: str) -> None:
        for top in dict.fromkeys(_imported(tree.body)):
            self.imports.setdefault(top, f"'{file}'")
        for top in dict.fromkeys(_imported(list(ast.walk(tree)))):
            self._add_module(top, file.parent, folder)

    def add_named(self, name: str, *, who: str) -> None:
        """Add the module that a step names, as ``enriching.Enrich`` does, where it lies beside a code file.

        :param who: the step, for errors
        """
        top = name.partition(".")[0]
        if top in STANDARD or any(self._add_module(top, parent, folder) for parent, folder in self._folders.items()):
            return
        if _is_module(top):  # else it is a name in the code, as in np.sum
            self.imports.setdefault(top, who)

    def _add_module(self, top: str, parent: Path, folder: str) -> bool:
        """Add a module and those that it imports, if it lies in the folder; whether it does."""
        if top in sys.stdlib_module_names:  # which comes first, whatever lies beside the file
            return False
        found = list(_modules(parent, top))
        for one in found:
            place = f"{folder}/{one.relative_to(parent).as_posix()}"
            if place in self.files:
                continue
            self.files[place] = one
            if one.suffix == ".py":
                self._add_neighbours(self._parsed(read_code(str(one)), str(one)), parent / one.name, folder)
        return bool(found)

    def _parsed(self, text: str, filename: str) -> ast.Module:
        try:
            return ast.parse(text, filename, feature_version=min(self.version, sys.version_info[:2]))
        except SyntaxError as error:
            major, minor = self.version
            raise SpecError(
                f"the code file '{filename}', line {error.lineno}, is no code for Python {major}.{minor}: {error.msg}; "
                "change it, or deploy with another Python (python='3.12', --python)"
            ) from error

    @property
    def own(self) -> set[str]:
        """The names under which its own files import."""
        parts = (place.split("/")[1:] for place in self.files)
        return {names[0].removesuffix(".py") for names in parts}


def _imported(nodes: list[ast.stmt] | list[ast.AST]) -> Iterator[str]:
    """The first parts of the modules that statements import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _is_module(name: str) -> bool:
    """Whether a module of this name is here, wherever."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return name in sys.modules


def _is_package_elsewhere(name: str) -> bool:
    """Whether a real package of this name is here, which Python takes before a folder without ``__init__.py``."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def _modules(folder: Path, top: str) -> Iterator[Path]:
    """The files of a module in a folder: ``top.py``, or all that is in the package ``top``."""
    if (folder / f"{top}.py").is_file():
        yield folder / f"{top}.py"
    elif (folder / top).is_dir() and any((folder / top).rglob("*.py")):
        if not (folder / top / "__init__.py").is_file() and _is_package_elsewhere(top):
            return
        for file in sorted((folder / top).rglob("*")):
            hidden = any(part in LEFT_OUT or part.startswith(".") for part in file.relative_to(folder).parts)
            if file.is_file() and not hidden:
                yield file


def _folder_of(step: str) -> str:
    """A step's name as that of a folder; another one for each step.

    >>> _folder_of("fraud"), _folder_of("a:v1") == _folder_of("a_v1")
    ('fraud', False)
    """
    plain = re.sub(r"[^-.a-zA-Z0-9_]", "_", step)
    return plain if plain == step else f"{plain}-{hashlib.sha256(step.encode()).hexdigest()[:8]}"


def model_files(path: str, *, step: str, folder: str) -> tuple[Files, str]:
    """The files of a model that lies on this machine, and its path in the image.

    :param path: ``model_path`` of a step; an address in a store and a mounted folder stay as they are
    :param folder: the function's folder in the image
    :raises SpecError: it is neither of them, and no file here
    """
    is_address = "://" in path and not path.startswith("file://")
    local = Path(path.removeprefix("file://")).expanduser()
    if is_address or (local.is_absolute() and not local.exists()):
        return {}, path
    if not local.exists():
        raise SpecError(
            f"step '{step}': model_path='{path}' is no file or folder here, seen from '{Path.cwd()}'; give its whole "
            "path, or an absolute one that is mounted where the function runs"
        )
    place = f"models/{_folder_of(step)}/{local.resolve().name}"
    if local.is_file():
        return {place: local.resolve()}, f"{folder}/{place}"
    inside = (file for file in sorted(local.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)
    return {f"{place}/{file.relative_to(local).as_posix()}": file.resolve() for file in inside}, f"{folder}/{place}"
