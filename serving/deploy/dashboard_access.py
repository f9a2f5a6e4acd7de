"""Where a Nuclio dashboard is and who asks it: from arguments, the environment or the configuration file."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ...errors import a_kind, near
from .dashboard_errors import DeployError

DEFAULT_URL = "http://localhost:8070"
SERVICE_PORT = "NUCLIO_DASHBOARD_SERVICE_PORT"
VARIABLES = {
    "url": ("NUCLIO_DASHBOARD_URL", "MLRUN_NUCLIO_DASHBOARD_URL"),
    "username": ("NUCLIO_DASHBOARD_USERNAME",),
    "password": ("NUCLIO_DASHBOARD_PASSWORD",),
    "token": ("NUCLIO_DASHBOARD_TOKEN",),
    "namespace": ("NUCLIO_NAMESPACE", "NUCTL_NAMESPACE"),
    "ca_file": ("NUCLIO_DASHBOARD_CA_FILE",),
}
"""The first is that of nuclio-jupyter or our own; the second is what MLRun and nuctl read."""
CREDENTIALS = ("username", "password", "token")


@dataclass(frozen=True)
class DashboardAccess:
    """The address of a dashboard, and the credentials for it, which are never shown.

    :param url: such as ``"https://nuclio.example.com"``; a user and password in it become `username` and `password`
    :param username: for basic authentication, with `password`
    :param token: for bearer authentication instead
    :param namespace: where functions are; default: the dashboard's own
    :param ca_file: certificates to trust, for an address with a private authority
    :param source: who said the address, for errors

    >>> access = DashboardAccess("https://me:secret@nuclio.example.com/")
    >>> access.url, access.username, "secret" in repr(access)
    ('https://nuclio.example.com', 'me', False)
    """

    url: str = DEFAULT_URL
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    namespace: str | None = None
    ca_file: str | None = None
    source: str = "the argument"

    def __post_init__(self) -> None:
        parts = urlsplit(self.url if "://" in self.url else f"http://{self.url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DeployError(f"the dashboard's address (from {self.source}) is no URL such as {DEFAULT_URL}")
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
        object.__setattr__(self, "url", address.removesuffix("/api"))
        for name, value in (("username", parts.username), ("password", parts.password)):
            if value is not None and getattr(self, name) is None:
                object.__setattr__(self, name, unquote(value))

    @property
    def authorization(self) -> str | None:
        """The header that lets in, or ``None`` where there are no credentials."""
        if self.token:
            return f"Bearer {self.token}"
        if self.username is None:
            return None
        return f"Basic {base64.b64encode(f'{self.username}:{self.password or str()}'.encode()).decode()}"

    @property
    def identity(self) -> str:
        """Who asks, for errors."""
        if self.token:
            return "the holder of the token"
        return f"user '{self.username}'" if self.username else "somebody without credentials"


def find_access(
    dashboard: str | DashboardAccess | None = None,
    *,
    username: str | None = None,
    namespace: str | None = None,
    config: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> DashboardAccess:
    """The dashboard to use: from the arguments, then the environment, then the configuration file's ``dashboard``.

    Credentials in the configuration file are for the address in that file, and are sent to no other.

    :param dashboard: an address, or everything
    :param config: the configuration file's content; see :func:`config_file`
    :param environment: default: the process's own
    :raises DeployError: an address that is no URL, or an unknown key in `config`

    >>> find_access(environment={"NUCLIO_DASHBOARD_URL": "http://nuclio:8070"}).url
    'http://nuclio:8070'
    """
    if isinstance(dashboard, DashboardAccess):
        return dashboard
    variables = os.environ if environment is None else environment
    filed = _checked(config or {})
    found: dict[str, str] = {}
    for name, names in VARIABLES.items():
        value = next((variables[one] for one in names if variables.get(one)), None)
        if value is not None:
            found[name] = value
    url, source = _address(dashboard, found.pop("url", None), filed.get("url"), variables)
    # All of them from one place: a password belongs to a user, and both to an address.
    is_for_other = url != filed.get("url") or bool({*CREDENTIALS} & {*found})
    if is_for_other or (username and username != filed.get("username")):
        filed = {name: value for name, value in filed.items() if name not in CREDENTIALS}
    found = {name: str(value) for name, value in filed.items() if name != "url"} | found
    found |= {name: value for name, value in (("username", username), ("namespace", namespace)) if value}
    return DashboardAccess(url=url, source=source, **found)


def config_file(environment: Mapping[str, str] | None = None) -> Path:
    """Where the configuration file is: ``$XDG_CONFIG_HOME/millrace/config.yaml``, else below ``~/.config``.

    >>> config_file({"XDG_CONFIG_HOME": "/etc/me"}).as_posix()
    '/etc/me/millrace/config.yaml'
    """
    variables = os.environ if environment is None else environment
    folder = variables.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "millrace" / "config.yaml"


def _address(
    argument: str | None, variable: str | None, filed: Any, variables: Mapping[str, str]
) -> tuple[str, str]:
    if argument:
        return argument, "the argument"
    if variable:
        name = next(one for one in VARIABLES["url"] if variables.get(one))
        return variable, name
    if filed:
        return str(filed), "the configuration file"
    if variables.get(SERVICE_PORT):  # Kubernetes tells pods of the services beside them
        return f"http://nuclio-dashboard:{variables[SERVICE_PORT]}", SERVICE_PORT
    return DEFAULT_URL, "the default"


def _checked(config: Mapping[str, Any]) -> dict[str, Any]:
    section = config.get("dashboard") or {}
    if not isinstance(section, Mapping):
        raise DeployError(f"the configuration file: dashboard must be a mapping, not {a_kind(section)}")
    known = [one.name for one in fields(DashboardAccess) if one.name != "source"]
    for key in section:
        if key not in known:
            hint = near(str(key), known) or f"; it has {', '.join(known)}"
            raise DeployError(f"the configuration file: dashboard has no key '{key}'{hint}")
    return {key: value for key, value in section.items() if value is not None}
