"""Secrets: where their values come from, and keeping them out of logs, errors and specs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import GraphError, SecretNotFound, SpecError, near

SOURCE_KINDS = ("inline", "file", "env", "kubernetes")
ENVIRONMENT_PREFIX = "MILLRACE_SECRET_"
MOUNT_VARIABLE = "MILLRACE_SECRETS_PATH"
MASK = "*****"
SHORTEST_MASKED = 4
SHORTEST_FOUND_INSIDE = 8


class Secrets:
    """The secrets of a function.

    Looked up in order: inline values, declared files (``KEY=value`` lines), declared environment names, the
    environment variable ``MILLRACE_SECRET_<KEY>``, a file ``<KEY>`` under ``MILLRACE_SECRETS_PATH`` or a declared
    Kubernetes mount. No other environment variable is ever read.

    >>> secrets = Secrets()
    >>> secrets.add("inline", {"TOKEN": "s3cr3t-value"})
    >>> secrets.get("TOKEN"), secrets.mask("login with s3cr3t-value failed"), secrets
    ('s3cr3t-value', 'login with ***** failed', Secrets(['TOKEN']))
    """

    def __init__(self) -> None:
        self._inline: dict[str, str] = {}
        self._files: dict[str, dict[str, str]] = {}
        self._names: list[str] = []
        self._environment: list[str] = []
        self._mounts: list[str] = []
        self._seen: set[str] = set()

    def add(self, kind: str, source: Any) -> None:
        """Declare a source: ``inline`` (a dict), ``file`` (a path), ``env`` (``"A,B"``), ``kubernetes``.

        :param source: for ``kubernetes`` the folder of a mount, or a list of names expected in a mount or in
            ``MILLRACE_SECRET_<NAME>``
        :raises SecretNotFound: the file can not be read
        """
        if kind not in SOURCE_KINDS:
            raise GraphError(
                f"there are no secrets of kind '{kind}'{near(str(kind), SOURCE_KINDS)} (use {', '.join(SOURCE_KINDS)})"
            )
        if kind == "inline":
            if not isinstance(source, Mapping):
                raise GraphError("inline secrets are a dict of names and values")
            self._inline.update({str(key): str(value) for key, value in source.items()})
            self._see(self._inline.values())
        elif kind == "file":
            self._files[str(source)] = {}
            self._read(str(source))
        elif kind == "env":
            self._environment += [name for name in _names(source) if name not in self._environment]
            self._see(os.environ[name] for name in self._environment if name in os.environ)
        elif isinstance(source, (list, tuple)):
            self.declare([str(name) for name in source])
        else:
            self._mounts.append(str(source))

    def declare(self, names: Iterable[str]) -> None:
        """Name secrets whose values are expected from outside."""
        self._names.extend(name for name in names if name not in self._names)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a secret, or `default`.

        :raises SecretNotFound: it is nowhere, and a declared file that may hold it can not be read
        """
        value = self._find(key)
        if value is None:
            for path in self._unread():
                self._read(path)
            return default
        self._see([value])
        return value

    def _find(self, key: str) -> str | None:
        for path in self._unread():
            if Path(path).is_file():
                self._read(path)
        for values in (self._inline, *self._files.values()):
            if key in values:
                return values[key]
        if key in self._environment and key in os.environ:
            return os.environ[key]
        if f"{ENVIRONMENT_PREFIX}{key}" in os.environ:
            return os.environ[f"{ENVIRONMENT_PREFIX}{key}"]
        if "/" in key or os.sep in key or key.startswith(".") or not key:
            return None
        for folder in [os.environ.get(MOUNT_VARIABLE), *self._mounts]:
            if folder and (file := Path(folder) / key).is_file():
                return file.read_text(encoding="utf-8").strip()
        return None

    def _unread(self) -> list[str]:
        return [path for path, values in self._files.items() if not values]

    def _read(self, path: str) -> None:
        self._files[path] = _read_file(path)
        self._see(self._files[path].values())

    def _see(self, values: Iterable[str]) -> None:
        """Remember values that must not be shown, as they are and as JSON and Python quote them."""
        for value in values:
            forms = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
            self._seen.update(form for form in forms if len(form) >= SHORTEST_MASKED)

    @property
    def names(self) -> list[str]:
        """The names of all secrets that are declared; those in a file that was not read yet are left out."""
        in_files = (name for values in self._files.values() for name in values)
        return list(dict.fromkeys([*self._inline, *in_files, *self._names, *self._environment]))

    def missing(self) -> list[str]:
        """The declared names that have no value here."""
        return [name for name in dict.fromkeys([*self._names, *self._environment]) if self._find(name) is None]

    def mask(self, text: str) -> str:
        """The text with every known value (of 4 characters or more) replaced by ``*****``."""
        if not self._seen:
            return text
        for value in sorted(self._seen, key=len, reverse=True):
            if value in text:
                text = text.replace(value, MASK)
        return text

    def refuse_in(self, values: Any, *, where: str) -> None:
        """Raise if plain data that is to be written holds a known value.

        :param where: what errors name, such as ``"spec"``
        """
        if isinstance(values, Mapping):
            for key, value in values.items():
                self.refuse_in(value, where=f"{where}.{key}")
        elif isinstance(values, (list, tuple)):
            for value in values:
                self.refuse_in(value, where=where)
        elif isinstance(values, str):
            for known in self._seen:
                if values == known or (len(known) >= SHORTEST_FOUND_INSIDE and known in values):
                    raise SpecError(
                        f"{self.mask(where)} holds the value of a secret, which is never written; "
                        "let the step ask for it with context.get_secret(name)"
                    )

    def to_spec(self) -> list[dict[str, Any]]:
        """The sources as plain data, with names in place of inline values."""
        spec: list[dict[str, Any]] = []
        names = list(dict.fromkeys([*self._inline, *self._names]))
        if names:
            spec.append({"kind": "inline", "names": names})
        spec += [{"kind": "file", "source": path} for path in self._files]
        if self._environment:
            spec.append({"kind": "env", "source": ",".join(self._environment)})
        spec += [{"kind": "kubernetes", "source": mount} for mount in self._mounts]
        return spec

    @classmethod
    def from_spec(cls, spec: Any) -> Secrets:
        """Secrets as a spec declares them; files are read when a secret is asked for."""
        secrets = cls()
        if not isinstance(spec, list) or not all(isinstance(one, Mapping) for one in spec):
            raise SpecError("secret_sources is a list of mappings with kind and source")
        for one in spec:
            kind, source = one.get("kind"), one.get("source")
            if kind == "inline" and isinstance(source, Mapping):  # MLRun writes the values, too
                secrets.add("inline", source)
            elif kind == "inline":
                names = one.get("names") or []
                if not isinstance(names, (list, str)):
                    raise SpecError(f"secret_sources: names must be a list of names, not {names!r:.60}")
                secrets.declare(_names(names))
            elif kind == "file":
                secrets._files[str(source)] = {}
            else:
                secrets.add(str(kind), source)
        return secrets

    def __repr__(self) -> str:
        return f"Secrets({sorted(self.names)})"


def _names(source: Any) -> list[str]:
    names = source.split(",") if isinstance(source, str) else [str(one) for one in source or ()]
    return [name.strip() for name in names if name.strip()]


def _read_file(path: str) -> dict[str, str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SecretNotFound(f"the secrets file {path!r} can not be read: {error.strerror}") from error
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}
