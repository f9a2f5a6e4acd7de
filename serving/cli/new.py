"""``millrace new``: a small project that works, to begin with."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from string import Template

from ...errors import MillraceError
from .command import Command, UsageError

EXAMPLE = """\
  millrace new hello                      models behind a router
  millrace new hello --template flow      steps in a row
  millrace new hello --template pipeline  two functions joined by a queue
"""
FOLDER = Path(__file__).parent / "templates"
SUFFIX = ".template"
TEMPLATES = ("router", "flow", "pipeline")
FIRST_TESTS = {
    "router": """/v2/models/iris/infer --body '{"inputs": [[5.1, 3.5, 1.4, 0.2]]}'""",
    "flow": """--body '{"text": "the mill and the race"}'""",
    "pipeline": """--body '{"text": "A mill. The race turns the wheel."}' --wait""",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The project."""
    parser.add_argument("name", metavar="NAME", help="the folder to make; its last part names the function")
    parser.add_argument("--template", choices=TEMPLATES, default="router", help="default: %(default)s")


def run(options: argparse.Namespace) -> int:
    """Write the project and print what to type next; nothing that exists is overwritten."""
    folder = Path(options.name)
    name = _function_name(folder.name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MillraceError(f"'{folder}' exists already, and nothing is overwritten; choose another name or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((FOLDER / options.template).iterdir()):
        text = Template(source.read_text(encoding="utf-8")).substitute(name=name)
        with (folder / source.name.removesuffix(SUFFIX)).open("x", encoding="utf-8") as file:
            file.write(text)
    print(f"{folder}: a {options.template} with its tests. Next:\n")
    for line in (f"cd {folder}", f"millrace test function.py {FIRST_TESTS[options.template]}", "python -m pytest",
                 "millrace serve function.py"):  # fmt: skip
        print(f"    {line}")
    return 0


def _function_name(text: str) -> str:
    """A name that Kubernetes takes too: lower-case letters, digits and ``-``."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9_]*[a-z0-9])?", text):
        made = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "my-server"
        raise UsageError(f"'{text}' is no name for a function: lower-case letters, digits and '-', such as '{made}'")
    return text.replace("_", "-")


COMMAND = Command("new", "write a small project that works, to begin with", EXAMPLE, add_arguments, run)
