"""What is handed in for one function: its configuration, its files, and what must be ready before it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import orjson

from ...errors import MillraceError
from .dashboard_errors import CodeTooLarge, DeployError
from .names import LONGEST_PROJECT, check_name

HASH = "millrace/config-hash"
PROJECT_LABEL = "nuclio.io/project-name"
PART_LABEL = "millrace/part-of"
"""The name of the function that a child belongs to."""
POST_COPY = "@nuclio.postCopy"
FOLDER = "/opt/nuclio"
LARGEST_CODE_BYTES = 1_000_000
"""Kubernetes keeps a function, its code included, in one object of at most 1.5 MiB."""

CARRIER = '''"""Files of a function, packed by Millrace; building the image unpacks them over this one."""
import base64, io, tarfile

FILES = "{packed}"

if __name__ == "__main__":
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(FILES)), mode="r:gz") as archive:
        archive.extractall("{folder}")
else:
    raise ImportError("the files of this function were not unpacked: its image was built without spec.build.commands")
'''


@dataclass(frozen=True)
class Deployable:
    """One function to deploy.

    :param config: ``{metadata, spec}`` as Nuclio has it
    :param files: what lies beside the handler's module in ``/opt/nuclio``, by relative path; may be empty where the
        configuration names an image
    :param after: names of functions that must be ready before this one is handed in

    >>> Deployable({"metadata": {"name": "hello"}, "spec": {}}).name
    'hello'
    """

    config: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    after: Collection[str] = ()

    @property
    def name(self) -> str:
        """The function's name in Nuclio."""
        return str(self.config["metadata"]["name"])

    def prepared(self, *, project: str) -> dict[str, Any]:
        """The configuration to hand in: with the project, the files, and a hash of all that as an annotation.

        :raises CodeTooLarge: the packed files are more than a dashboard stores
        """
        config = deepcopy({"metadata": self.config["metadata"], "spec": self.config["spec"]})
        metadata, spec = config["metadata"], config["spec"]
        metadata["labels"] = {**(metadata.get("labels") or {}), PROJECT_LABEL: project}
        annotations = {**(metadata.get("annotations") or {}), HASH: self.hash(config)}
        if self.files and (spec.get("build") or {}).get("codeEntryType", "sourceCode") == "sourceCode":
            _carry(spec, self.files, name=self.name)
        metadata["annotations"] = annotations
        return config

    def hash(self, config: Mapping[str, Any]) -> str:
        """A hash that changes when this configuration or the files do; the same however both are packed."""
        files = {path: hashlib.sha256(content).hexdigest() for path, content in self.files.items()}
        whole = orjson.dumps([config, files], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(whole).hexdigest()[:32]


def hash_of(found: Mapping[str, Any]) -> str | None:
    """The hash that a deployed function was annotated with."""
    annotations = (found.get("metadata") or {}).get("annotations") or {}
    value = annotations.get(HASH)
    return str(value) if value is not None else None


def in_order(units: Sequence[Deployable]) -> list[Deployable]:
    """The units, each after those that it waits for.

    :raises DeployError: two have one name, one waits for what is not deployed, or they wait for each other
    """
    by_name = {unit.name: unit for unit in units}
    if len(by_name) != len(units):
        names = [unit.name for unit in units]
        twice = next(name for name in names if names.count(name) > 1)
        raise DeployError(f"two functions are called '{twice}'; give one of them another name")
    done: dict[str, Deployable] = {}
    waiting = list(units)
    while waiting:
        free = [unit for unit in waiting if set(unit.after) <= set(done)]
        if not free:
            unit = waiting[0]
            missing = next(name for name in unit.after if name not in done)
            why = "which waits for it in turn" if missing in by_name else "which is not deployed with it"
            raise DeployError(f"function '{unit.name}' waits for '{missing}', {why}")
        done |= {unit.name: unit for unit in free}
        waiting = [unit for unit in waiting if unit.name not in done]
    return list(done.values())


def check_names(project: str, names: Iterable[str]) -> None:
    """Refuse what Nuclio or Kubernetes would refuse after the build.

    :raises SpecError: with a name that would do
    """
    check_name(project, what="project", longest=LONGEST_PROJECT)
    for name in names:
        check_name(name, what="function")


def _carry(spec: dict[str, Any], files: Mapping[str, bytes], *, name: str) -> None:
    """Put files into a configuration, which has room for one: a dashboard takes no uploads.

    Where there are several, the one is a program that holds the others. It runs while the image is built, and writes
    them over itself, so that the image is the one that nuctl would have made of the folder.
    """
    module = str(spec.get("handler", "main:handler")).partition(":")[0]
    main = f"{module}.py"
    if main not in files:
        raise MillraceError(f"function '{name}': its handler is in '{main}', which is not among its files")
    build = spec["build"] = dict(spec.get("build") or {})
    source = files[main]
    if len(files) > 1:
        packed = base64.b64encode(_packed(files)).decode()
        source = CARRIER.format(packed=packed, folder=FOLDER).encode()
        build["commands"] = _unpacked_first(list(build.get("commands") or ()), f"python3 {FOLDER}/{main}")
    code = base64.b64encode(source).decode()
    if len(code) > LARGEST_CODE_BYTES:
        raise CodeTooLarge(name, size_bytes=len(code), limit_bytes=LARGEST_CODE_BYTES)
    build["functionSourceCode"] = code


def _unpacked_first(commands: list[str], unpack: str) -> list[str]:
    """Commands that follow the copying of the code find all files."""
    if POST_COPY not in commands:
        return [*commands, POST_COPY, unpack]
    at = commands.index(POST_COPY) + 1
    return [*commands[:at], unpack, *commands[at:]]


def _packed(files: Mapping[str, bytes]) -> bytes:
    """An archive that is the same for the same files: no times, no owners, one order."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(files[path]), 0o644
            tar.addfile(entry, io.BytesIO(files[path]))
    return gzip.compress(archive.getvalue(), mtime=0)
