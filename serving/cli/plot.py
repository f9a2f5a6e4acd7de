"""``millrace plot``: the picture of a graph."""

from __future__ import annotations

import argparse
from pathlib import Path

from .command import Command, add_target
from .target import load

EXAMPLE = """\
  millrace plot function.py                 as Mermaid text, which GitHub, GitLab and JupyterLab draw
  millrace plot function.py -o graph.svg    as a picture; also .png, .pdf (needs Graphviz), .dot, .mmd
"""
MERMAID_SUFFIXES = (".mmd", ".mermaid")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write."""
    add_target(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write (default: Mermaid text on stdout)")
    parser.add_argument("--direction", choices=("LR", "TB", "RL", "BT"), default="LR",
                        help="how a picture runs: left to right, top to bottom… (default: %(default)s)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Draw."""
    # For start-up: Graphviz is only needed for pictures.
    from ..graph.draw import plot  # noqa: PLC0415
    from ..graph.mermaid import to_mermaid  # noqa: PLC0415

    function, _ = load(options.target, trusted=options.trusted)
    if options.output is None:
        print(to_mermaid(function.graph), end="")
    elif Path(options.output).suffix in MERMAID_SUFFIXES:
        Path(options.output).write_text(to_mermaid(function.graph), encoding="utf-8")
    else:
        plot(function.graph, options.output, rankdir=options.direction)
    return 0


COMMAND = Command("plot", "draw a function's graph", EXAMPLE, add_arguments, run)
