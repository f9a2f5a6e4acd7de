"""Secrets: where their values come from, and keeping them out of logs, errors and specs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import GraphError, SecretNotFound, near

SOURCE_KINDS = ("inline", "file", "env", "kubernetes")
ENVIRONMENT_PREFIX = "MILLRACE_SECRET_"
MOUNT_VARIABLE = "MILLRACE_SECRETS_PATH"
MASK = "*****"
SHORTEST_MASKED = 4


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
        self._names: list[str] = []
        self._environment: list[str] = []
        self._files: list[str] = []
        self._mounts: list[str] = []
        self._seen: set[str] = set()

    def add(self, kind: str, source: Any) -> None:
        """Declare a source: ``inline`` (a dict), ``file`` (a path), ``env`` (``"A,B"``), ``kubernetes`` (a mount)."""
        if kind not in SOURCE_KINDS:
            raise GraphError(f"there are no secrets of kind '{kind}'{near(kind, SOURCE_KINDS)}")
        if kind == "inline":
            if not isinstance(source, Mapping):
                raise GraphError("inline secrets are a dict of names and values")
            self._inline.update({str(key): str(value) for key, value in source.items()})
            self._seen.update(str(value) for value in source.values())
        elif kind == "file":
            self._files.append(str(source))
            self._inline.update(_read_file(str(source)) | self._inline)
            self._seen.update(self._inline.values())
        elif kind == "env":
            names = source.split(",") if isinstance(source, str) else list(source)
            self._environment.extend(name.strip() for name in names)
        else:
            self._mounts.append(str(source))

    def declare(self, names: list[str]) -> None:
        """Name secrets whose values are expected from outside."""
        self._names.extend(name for name in names if name not in self._names)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a secret, or `default`."""
        value = self._find(key)
        if value is None:
            return default
        self._seen.add(value)
        return value

    def _find(self, key: str) -> str | None:
        if key in self._inline:
            return self._inline[key]
        if key in self._environment and key in os.environ:
            return os.environ[key]
        if f"{ENVIRONMENT_PREFIX}{key}" in os.environ:
            return os.environ[f"{ENVIRONMENT_PREFIX}{key}"]
        if os.sep in key or key.startswith("."):
            return None
        for folder in [os.environ.get(MOUNT_VARIABLE), *self._mounts]:
            if folder and (path := Path(folder) / key).is_file():
                return path.read_text(encoding="utf-8").strip()
        return None

    def missing(self) -> list[str]:
        """The declared names that have no value here."""
        return [name for name in [*self._names, *self._environment] if self._find(name) is None]

    def mask(self, text: str) -> str:
        """The text with every known value (of 4 characters or more) replaced by ``*****``."""
        for value in self._seen:
            if len(value) >= SHORTEST_MASKED and value in text:
                text = text.replace(value, MASK)
        return text

    def to_spec(self) -> list[dict[str, Any]]:
        """The sources as plain data, with names in place of inline values."""
        spec: list[dict[str, Any]] = []
        names = list(dict.fromkeys([*self._inline_only(), *self._names]))
        if names:
            spec.append({"kind": "inline", "names": names})
        spec += [{"kind": "file", "source": path} for path in self._files]
        if self._environment:
            spec.append({"kind": "env", "source": ",".join(self._environment)})
        spec += [{"kind": "kubernetes", "source": mount} for mount in self._mounts]
        return spec

    def _inline_only(self) -> list[str]:
        from_files = {key for path in self._files if Path(path).is_file() for key in _read_file(path)}
        return [name for name in self._inline if name not in from_files]

    @classmethod
    def from_spec(cls, spec: list[dict[str, Any]]) -> Secrets:
        """Secrets as a spec declares them."""
        secrets = cls()
        for one in spec:
            if one.get("kind") == "inline":
                secrets.declare(list(one.get("names", [])))
            else:
                secrets.add(one.get("kind", ""), one.get("source"))
        return secrets

    def __repr__(self) -> str:
        return f"Secrets({sorted({*self._inline, *self._names, *self._environment})})"


def _read_file(path: str) -> dict[str, str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SecretNotFound(f"the secrets file {path!r} can not be read: {error.strerror}") from error
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}
