"""``millrace export``: a function as a file that describes it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .command import Command, add_target
from .target import load

if TYPE_CHECKING:
    from ..functions.function import ServingFunction

EXAMPLE = """\
  millrace export function.py -o function.yaml
  millrace serve function.yaml
"""
FORMATS = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".mmd": "mermaid", ".mermaid": "mermaid"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write, and how."""
    add_target(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write (default: stdout)")
    parser.add_argument("--format", choices=("yaml", "json", "mermaid"),
                        help="default: by the end of the file's name, else yaml")  # fmt: skip
    parser.add_argument("--pickle", action="store_true",
                        help="write objects that have no name as pickles; reading them takes --trusted")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Write the description."""
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
        if code is not None and code.is_relative_to(folder):
            one.spec.filename = str(code.relative_to(folder))


COMMAND = Command("export", "write a function as YAML, JSON or Mermaid", EXAMPLE, add_arguments, run)
