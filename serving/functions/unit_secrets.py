"""Where a deployed function's secrets come from: always a reference, never a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import SpecError
from ..deploy.streams import V3IO_KEY
from ..deploy.target import Target
from .placed import SECRET_VARIABLE, secret_reference
from .spec import FunctionSpec


def secrets_of(
    spec: FunctionSpec, target: Target, *, function: str, uses_v3io: bool = False, others: Sequence[str] = ()
) -> dict[str, str]:
    """The environment variables that hold secrets, each with its ``"secret-name/key"``.

    For images without a platform the reference may be empty: who runs the image sets the variable.

    :param uses_v3io: whether the function opens streams of v3io
    :param others: further secrets that its graph names
    :raises SpecError: a secret refers to nothing that the target has
    """
    needed = {name: f"{SECRET_VARIABLE}{name}" for name in (*spec.secrets.names, *others)}
    in_variables = [one["source"] for one in spec.secrets.to_spec() if one["kind"] == "env"]
    needed |= {name: name for source in in_variables for name in source.split(",")}
    found = dict(spec.env_from_secrets)
    if uses_v3io and V3IO_KEY not in spec.env:
        needed[V3IO_KEY] = V3IO_KEY
    for name, variable in needed.items():
        if variable in found:
            continue
        if target.secret is not None:
            found[variable] = secret_reference(f"{target.secret}/{name}", name)
        elif target.name in ("docker", "compose"):
            found[variable] = ""
        else:
            raise SpecError(_no_reference(name, function, is_variable=variable == name))
    _check_mounts(spec, function)
    return found


def _no_reference(name: str, function: str, *, is_variable: bool) -> str:
    call = (
        f"set_env_from_secret('{name}', 'secret-name')" if is_variable else
        f"with_secrets('kubernetes', {{'{name}': 'secret-name/key'}})"
    )  # fmt: skip
    return (
        f"function '{function}': the secret '{name}' has no source where it is deployed, and its value is never "
        f"written; refer to a Kubernetes Secret with function.{call}, or to one for all with secret='secret-name' "
        "(--secret)"
    )


def _check_mounts(spec: FunctionSpec, function: str) -> None:
    mounted = [str(one.get("mountPath", "")).rstrip("/") for one in spec.volume_mounts]
    for one in spec.secrets.to_spec():
        folder = str(one.get("source", "")).rstrip("/")
        is_mounted = any(folder == place or folder.startswith(f"{place}/") for place in mounted)
        if one["kind"] == "kubernetes" and not is_mounted:
            raise SpecError(
                f"function '{function}': secrets are read from the folder '{folder}', and nothing is mounted there; "
                "give function.spec.volumes and volume_mounts, or refer to the Secret with "
                "function.with_secrets('kubernetes', {'NAME': 'secret-name/key'})"
            )


def deployed_sources(sources: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A spec's sources of secrets without the files of this machine."""
    return [one for one in sources if one["kind"] != "file"]
