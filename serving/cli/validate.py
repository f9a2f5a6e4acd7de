"""``millrace validate``: everything that is wrong with a function, before anything runs."""

from __future__ import annotations

import argparse
import sys

from .command import Command, add_target
from .target import load

EXAMPLE = """\
  millrace validate function.py           the graph, the names in it and the parameters of its classes
  millrace validate function.py --load    also make the steps and load the models
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How far to go."""
    add_target(parser)
    parser.add_argument("--load", action="store_true", help="also make every step and load the models, as serving does")


def run(options: argparse.Namespace) -> int:
    """Print each fault on its line and return 1, or say that there is none and return 0."""
    # For start-up.
    from ..functions.check import function_problems  # noqa: PLC0415

    function, sources = load(options.target, trusted=options.trusted)
    faults = function_problems(function, sources)
    for fault in faults:
        print(f"millrace: {' '.join(str(fault).split())}", file=sys.stderr)
    if faults:
        return 1
    if options.load:
        function.to_mock_server(namespace=sources, verbose=options.verbose).close()
    print(f"{options.target}: function '{function.name}' is valid")
    return 0


COMMAND = Command("validate", "check a function's graph without running it", EXAMPLE, add_arguments, run)
