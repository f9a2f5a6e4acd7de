"""``millrace export``: a function as a file that describes it, or as all that a platform needs to run it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import near
from .command import Command, UsageError, add_target
from .target import load

if TYPE_CHECKING:
    from ..functions.function import ServingFunction

EXAMPLE = """\
  millrace export function.py -o function.yaml
  millrace export docker function.py -o image && docker build -t adder image
  millrace export kubernetes function.py -o manifests --image registry.example.com/adder:1
"""
FORMATS = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".mmd": "mermaid", ".mermaid": "mermaid"}
PLATFORMS = ("nuclio", "docker", "kubernetes", "compose")
CHOICES = ("image", "python", "namespace", "streams", "secret", "wheel")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write, and how."""
    add = parser.add_argument
    add("platform", nargs="?", metavar="PLATFORM",
        help=f"{', '.join(PLATFORMS)}: write a folder for it (default: describe the function)")  # fmt: skip
    add_target(parser)
    add("-o", "--output", metavar="FILE", help="the file to write (default: stdout), or a platform's folder")
    add("--format", choices=("yaml", "json", "mermaid"), help="default: by the end of the file's name, else yaml")
    add("--pickle", action="store_true",
        help="write objects that have no name as pickles; reading them takes --trusted")  # fmt: skip
    group = parser.add_argument_group("for a platform")
    add = group.add_argument
    add("--image", metavar="NAME", help="name of the image that is built (default: the function's, :latest)")
    add("--python", metavar="3.N", help="its Python version (default: this one)")
    add("--streams", metavar="URL", help="where queues without an address are: kafka://broker:9092")
    add("--secret", metavar="NAME", help="the Kubernetes Secret of all secrets that refer to none")
    add("--namespace", help="of Kubernetes")
    add("--kserve", action="store_true", help="kubernetes: let KServe run the function that answers requests")
    add("--wheel", metavar="FILE", help="a wheel file to install Millrace from")


def run(options: argparse.Namespace) -> int:
    """Write the description, or the folder."""
    if options.platform is not None:
        return _write_folder(options)
    for name in (*CHOICES, "kserve"):
        if getattr(options, name):
            raise UsageError(f"--{name} is for a platform: millrace export {PLATFORMS[0]} {options.target} --{name} …")
    function, _ = load(options.target, trusted=options.trusted)
    output = Path(options.output) if options.output is not None else None
    _relate_code(function, (output.parent if output is not None else Path()).resolve())
    format = options.format or FORMATS.get(output.suffix if output is not None else "", "yaml")
    text = _written(function, format, pickle=options.pickle)
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
    return 0


def _write_folder(options: argparse.Namespace) -> int:
    if options.platform not in PLATFORMS:
        hint = near(options.platform, PLATFORMS) or f"; there are {', '.join(PLATFORMS)}"
        raise UsageError(f"there is no platform '{options.platform}'{hint}")
    if options.output is None:
        raise UsageError(f"say where to: millrace export {options.platform} {options.target} -o {options.platform}")
    if options.format is not None:
        raise UsageError(f"--format is for a description; {options.platform} has its own")
    function, _ = load(options.target, trusted=options.trusted)
    choices = {name: getattr(options, name) for name in CHOICES}
    function.export(options.platform, options.output, pickle=options.pickle, kserve=options.kserve, **choices)
    print(f"{options.output}: function '{function.name}' for {options.platform}")
    return 0


def _written(function: ServingFunction, format: str, *, pickle: bool) -> str:
    if format == "mermaid":
        from ..graph.mermaid import to_mermaid  # noqa: PLC0415 - for start-up

        return to_mermaid(function.graph)
    if format == "json":
        return json.dumps(function.to_dict(pickle=pickle), indent=2, ensure_ascii=False) + "\n"
    return function.to_yaml(pickle=pickle)


def _relate_code(function: ServingFunction, folder: Path) -> None:
    """Name code files from the folder of the description on, so that both can be moved together."""
    for one in [function, *function.spec.functions.values()]:
        code = Path(one.spec.filename).resolve() if one.spec.filename else None
        if code is not None:
            one.spec.filename = str(code.relative_to(folder) if code.is_relative_to(folder) else code)


COMMAND = Command(
    "export", "write a function as YAML, JSON or Mermaid, or a folder for a platform", EXAMPLE, add_arguments, run
)
