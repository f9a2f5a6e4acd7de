"""A function in a Nuclio dashboard: deploying it with its children, asking it, and removing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ...errors import MillraceError, RequestFailed, SpecError
from ..deploy.dashboard_access import DashboardAccess, config_file, find_access
from ..deploy.deployer_function import Deployed, DeployOptions
from ..deploy.deployer_progress import Progress
from ..deploy.deployer_unit import Deployable
from ..deploy.files import contents
from ..deploy.nuclio_config import DEFAULT_PROJECT, nuclio_config, nuclio_files
from ..deploy.target import Target
from ..deploy.unit import Unit
from .text import load_yaml
from .unit_graph import runs_somewhere
from .units import units_of

if TYPE_CHECKING:
    from .function import ServingFunction

WAYS = ("dashboard", "nuctl")


@dataclass(frozen=True)
class Place:
    """Where a function is deployed, and what it is made of there.

    :param names: its functions in Nuclio, children first, itself last
    """

    names: tuple[str, ...]
    access: DashboardAccess
    via: str = "dashboard"


def access_of(
    dashboard: str | DashboardAccess | None = None, *, username: str | None = None, namespace: str | None = None
) -> DashboardAccess:
    """The dashboard to use: from the arguments, the environment or the configuration file.

    :raises DeployError: an address that is no URL, or an unknown key in the file
    """
    file = config_file()
    config = load_yaml(file.read_text(encoding="utf-8"), source=str(file)) if file.is_file() else {}
    return find_access(dashboard, username=username, namespace=namespace, config=config)


def deployables(
    function: ServingFunction, *, env: Mapping[str, str] | None = None, pickle: bool = False, python: str | None = None,
    streams: str | None = None, secret: str | None = None, wheel: str | None = None,
) -> list[Deployable]:  # fmt: skip
    """What is handed in for a function and its children, in the order of deploying.

    :param env: environment variables of all of them, beside those of the function
    :param wheel: a wheel file to install Millrace from
    :param python: as of :class:`~millrace.serving.deploy.target.Target`, like `streams` and `secret`
    :raises SpecError: something can not be deployed
    """
    if wheel is not None and not (Path(wheel).is_file() and wheel.endswith(".whl")):
        raise SpecError(f"wheel='{wheel}' is no wheel file here; build one with `python -m build --wheel`")
    target = Target(name="nuclio", streams=streams, secret=secret, wheel=Path(wheel).name if wheel else None)
    target = replace(target, python=python) if python else target
    if env:
        function = function.copy()
        function.spec.env |= {name: str(value) for name, value in env.items()}
    beside = {Path(wheel).name: Path(wheel)} if wheel else {}
    return [
        Deployable(nuclio_config(unit), contents({**nuclio_files(unit), **beside}), unit.after)
        for unit in units_of(function, target, pickle=pickle)
    ]


def names_of(function: ServingFunction) -> tuple[str, ...]:
    """What a function and its children are called in Nuclio, children first; whether they could be deployed or not."""
    graph = function.to_dict(pickle=True)["spec"]["graph"]
    children = [child for child in function.spec.functions if runs_somewhere(graph, child)]
    metadata, target = function.metadata, Target(name="nuclio")
    return tuple(
        Unit(name=name, target=target, spec="", project=metadata.project, tag=metadata.tag).full_name
        for name in (*(f"{function.name}-{child}" for child in children), function.name)
    )


def deploy_units(
    function: ServingFunction, units: list[Deployable], access: DashboardAccess, *, via: str, options: DeployOptions,
    is_detailed: bool,
) -> list[Deployed]:  # fmt: skip
    """Deploy what :func:`deployables` gave."""
    project = function.metadata.project or DEFAULT_PROJECT
    progress = Progress(is_detailed=is_detailed, mask=function.spec.secrets.mask)
    if via == "nuctl":
        from ..deploy.nuctl import deploy_with_nuctl  # noqa: PLC0415 - only where it is asked for

        return deploy_with_nuctl(units, project=project, namespace=access.namespace, options=options, progress=progress)
    if via != "dashboard":
        raise MillraceError(f"via='{via}' is no way to deploy; there are {', '.join(WAYS)}")
    from ..deploy.deployer import deploy  # noqa: PLC0415 - aiohttp takes a tenth of a second

    return deploy(units, access, project=project, options=options, progress=progress)


def ask(
    name: str, access: DashboardAccess, path: str = "/", body: Any = None, method: str | None = None,
    headers: Mapping[str, str] | None = None, *, via: str = "dashboard", timeout_seconds: float = 60.0,
) -> Any:  # fmt: skip
    """The answer of a deployed function: parsed where it is JSON, else text or bytes.

    :raises RequestFailed: it answered with an error status
    """
    from ..deploy.deployer import invoke  # noqa: PLC0415 - aiohttp takes a tenth of a second

    sent = dict(headers or {})
    if body is None or isinstance(body, bytes):
        data: bytes | None = body
    elif isinstance(body, str):
        data = body.encode()
    else:
        data = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
        if not any(one.lower() == "content-type" for one in sent):
            sent["Content-Type"] = "application/json"
    method = (method or ("GET" if data is None else "POST")).upper()
    answer = invoke(name, access, path=path, method=method, headers=sent, body=data, via=via,
                    timeout_seconds=timeout_seconds)  # fmt: skip
    found = _parsed(answer.body, answer.headers.get("Content-Type", ""))
    if answer.status >= 400:
        raise RequestFailed(answer.status, found)
    return found


def _parsed(body: bytes, content_type: str) -> Any:
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        try:
            return orjson.loads(body) if body else None
        except ValueError:
            return body
    if kind.startswith("text/"):
        return body.decode(errors="replace")
    return body or None
