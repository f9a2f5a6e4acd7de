"""``millrace undeploy``: deployed functions go away."""

from __future__ import annotations

import argparse

from .command import Command
from .deploy_options import access, add_functions, names

EXAMPLE = """\
  millrace undeploy function.py --project fraud
  millrace undeploy fraud-scores
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which functions, and how."""
    add_functions(parser)
    parser.add_argument("--force", action="store_true", help="also one that is being deployed")
    parser.add_argument("--via", choices=("dashboard", "nuctl"), default="dashboard", help="default: dashboard")


def run(options: argparse.Namespace) -> int:
    """Remove them, parents first, and print what became of each."""
    listed = names(options)
    if options.via == "nuctl":
        from ..deploy.nuctl import undeploy_with_nuctl  # noqa: PLC0415 - for start-up

        undeploy_with_nuctl(listed, namespace=options.namespace, write=print)
        return 0
    from ..deploy.deployer import undeploy  # noqa: PLC0415 - for start-up

    undeploy(listed, access(options), is_forced=options.force, write=print)
    return 0


COMMAND = Command("undeploy", "remove a function and its children from Nuclio", EXAMPLE, add_arguments, run)
