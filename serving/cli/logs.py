"""``millrace logs``: what deployed functions log."""

from __future__ import annotations

import argparse
import sys

from .command import Command, at_least, seconds
from .deploy_options import access, add_functions, names

EXAMPLE = """\
  millrace logs function.py --project fraud --tail 100
  millrace logs fraud-scores --follow
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which functions, and how much."""
    add_functions(parser)
    parser.add_argument("--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    parser.add_argument("--tail", type=at_least(1), metavar="N", help="only the last N lines of each replica")
    parser.add_argument("--since-seconds", type=seconds, metavar="S", help="only lines that are so young")


def run(options: argparse.Namespace) -> int:
    """Print the lines, with the replica's name where there are several; of a file, the function itself."""
    from ..deploy.deployer import logs  # noqa: PLC0415 - for start-up

    *children, name = names(options)
    count = logs(name, access(options), _print, is_followed=options.follow, since_seconds=options.since_seconds,
                 tail_lines=options.tail)  # fmt: skip
    if not count:
        print(f"millrace: function '{name}' has no replica now", file=sys.stderr)
    if children:
        print(f"millrace: its children log for themselves: {', '.join(children)}", file=sys.stderr)
    return 0


def _print(line: str) -> None:
    print(line, flush=True)


COMMAND = Command("logs", "show what a deployed function logs", EXAMPLE, add_arguments, run)
