"""One image for a function and its children: the Dockerfile, and the folder that it is built in."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from ...errors import SpecError
from .unit import SPEC_FILE, Files, Unit

PORT = 8080
USER = 10001
"""A user that no base image has; by number, so that Kubernetes sees that it is not root."""
DRAIN_SECONDS = 30
HEALTH = (
    "import sys, urllib.request as r; "
    f"sys.exit(r.urlopen('http://127.0.0.1:{PORT}/v2/health/live', timeout=3).status != 200)"
)
ESCAPED = re.compile(r'["$\\]')
BACKSLASH = r"\\\g<0>"
"""Written before what has a meaning between a Dockerfile's quotation marks."""
PIN = re.compile(r"([A-Za-z0-9][-A-Za-z0-9._]*)\s*(?:\[[^\]]*\])?\s*==\s*([^\s,;*]+)")
IGNORED = "Dockerfile\n.dockerignore\n.millrace-export\n**/__pycache__\n"


def image_files(units: Sequence[Unit]) -> Files:
    """The folder to build the image in.

    All functions share the image: it has the spec of each, and the code, models and packages of all.

    :raises SpecError: they can not share one
    """
    base, commands = base_image(units), list(dict.fromkeys(one for unit in units for one in unit.commands))
    for unit in units:
        check_triggers(unit)
    found: Files = {
        "Dockerfile": _dockerfile(units[-1], base, commands, _variables(units)),
        ".dockerignore": IGNORED,
        "requirements.txt": "".join(f"{one}\n" for one in _requirements(units)),
    }
    for unit in units:
        found[spec_name(unit)] = unit.spec
        found |= unit.files
    return found


def spec_name(unit: Unit) -> str:
    """The name of a unit's spec among those of the others in the image."""
    return f"function-spec-{unit.child}.yaml" if unit.child else SPEC_FILE


def base_image(units: Sequence[Unit]) -> str:
    """The image that the function's own is made from.

    :raises SpecError: two functions have different ones
    """
    parent = units[-1]
    base = parent.base_image or f"python:{parent.target.python}-slim"
    for unit in units[:-1]:
        if (unit.base_image or base) != base:
            raise SpecError(
                f"function '{unit.name}' is built from '{unit.base_image}', and '{parent.name}' from '{base}'; "
                "containers of one function share an image: give all of them the same, with what both need"
            )
    return base


def image_name(unit: Unit) -> str:
    """The name of the image that is built."""
    return unit.target.image or f"{unit.name.removesuffix(f'-{unit.child}') if unit.child else unit.name}:latest"


def arguments(unit: Unit, spec: str) -> list[str]:
    """What follows ``millrace serve --host … --port …`` for one function."""
    workers = (unit.http or {}).get("numWorkers")
    return [
        spec,
        *(["--function", unit.child] if unit.child else []),
        *(["--workers", str(workers)] if workers else []),
        *(["--trusted"] if unit.trusted else []),
    ]


def check_triggers(unit: Unit) -> None:
    """Refuse triggers that only Nuclio has.

    :raises SpecError: there is one
    """
    for name, trigger in unit.triggers.items():
        if trigger["kind"] not in ("http", "cron"):
            raise SpecError(
                f"function '{unit.name}': the trigger '{name}' of kind {trigger['kind']} is for Nuclio, and "
                f"{unit.target.name} has nothing for it; read a stream of Kafka or v3io, or leave it out"
            )


def _requirements(units: Sequence[Unit]) -> list[str]:
    """The requirements of all functions; of Millrace itself, the extras of all."""
    extras = {one for unit in units for one in _extras(unit.requirements[0])}
    name = units[0].requirements[0]
    bare = name[: name.index("[")] + name[name.index("]") + 1 :] if "[" in name else name
    head, mark, version = bare.partition("==")
    listed = f"[{','.join(sorted(extras))}]" if extras else ""
    own = f"{head}{listed}{mark}{version}"
    _check_pins(units)
    return list(dict.fromkeys([own, *(one for unit in units for one in unit.requirements[1:])]))


def _check_pins(units: Sequence[Unit]) -> None:
    """Refuse two versions of one package.

    :raises SpecError: functions ask for different ones
    """
    found: dict[str, str] = {}
    for unit in units:
        for one in unit.requirements[1:]:
            pin = PIN.fullmatch(one.strip())
            if pin is None:
                continue
            name = re.sub(r"[-_.]+", "-", pin[1]).lower()
            version = found.setdefault(name, pin[2])
            if version != pin[2]:
                raise SpecError(
                    f"function '{unit.name}' requires {one.strip()}, and another function version {version}; "
                    "containers of one function share an image: give all of them the same"
                )


def _extras(requirement: str) -> list[str]:
    return requirement[requirement.index("[") + 1 : requirement.index("]")].split(",") if "[" in requirement else []


def _variables(units: Sequence[Unit]) -> str:
    """The instruction that sets the functions' variables, where nothing but the image can.

    :raises SpecError: two functions have different values, or one has several lines
    """
    found: dict[str, str] = {}
    for unit in units if units[-1].target.name == "docker" else ():
        for name, value in unit.env.items():
            if "\n" in value or found.setdefault(name, value) != value:
                fault = "has several lines" if "\n" in value else "is another one in a child function"
                raise SpecError(
                    f"function '{unit.name}': the value of the variable {name} {fault}, and the functions share an "
                    "image; set it when the image is run, or export for compose or kubernetes"
                )
    quoted = [f'{name}="{ESCAPED.sub(BACKSLASH, value)}"' for name, value in sorted(found.items())]
    return f"ENV {' '.join(quoted)}\n" if quoted else ""


def _dockerfile(parent: Unit, base: str, commands: Sequence[str], variables: str) -> str:
    folder = parent.target.folder
    wheel = f"COPY {parent.target.wheel} ./\n" if parent.target.wheel else ""
    built = "".join(f"RUN {command}\n" for command in commands)
    serve = ["millrace", "serve", "--host", "0.0.0.0", "--port", str(PORT), "--drain-seconds", str(DRAIN_SECONDS)]
    return f"""\
# One image for the function '{parent.name}' and its children. Build it with: docker build -t {image_name(parent)} .
FROM {base}

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
{built}WORKDIR {folder}

# What is installed changes less often than the code: this layer is kept.
COPY requirements.txt ./
{wheel}RUN python -m pip install --no-cache-dir -r requirements.txt

COPY . ./

{variables}USER {USER}:{USER}
EXPOSE {PORT}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period={parent.readiness_seconds}s --retries=3 \\
    CMD {json.dumps(["python", "-c", HEALTH])}
ENTRYPOINT {json.dumps(serve)}
CMD {json.dumps(arguments(parent, spec_name(parent)))}
"""
