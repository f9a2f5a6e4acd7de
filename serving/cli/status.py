"""``millrace status``: how deployed functions are."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from .command import Command
from .deploy_options import access, add_functions, names

if TYPE_CHECKING:
    from ..deploy.deployer_function import Deployed

EXAMPLE = """\
  millrace status function.py --project fraud
  millrace status fraud-scores --json
"""
READY = ("ready", "scaledToZero")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which functions."""
    add_functions(parser)
    parser.add_argument("--via", choices=("dashboard", "nuctl"), default="dashboard", help="default: dashboard")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")


def run(options: argparse.Namespace) -> int:
    """Print a line for each; 0 when all are ready, else 1."""
    from .table import print_table  # noqa: PLC0415 - for start-up

    found = _found(options)
    if options.json:
        print(json.dumps([{**asdict(one), "address": one.address} for one in found]))
    else:
        rows = [(one.name, one.state, one.address or "-", one.message.partition("\n")[0]) for one in found]
        print_table(("function", "state", "address", "message"), rows)
    return 0 if all(one.state in READY for one in found) else 1


def _found(options: argparse.Namespace) -> list[Deployed]:
    if options.via == "nuctl":
        from ..deploy.nuctl import status_with_nuctl  # noqa: PLC0415 - for start-up

        return status_with_nuctl(names(options), namespace=options.namespace)
    from ..deploy.deployer import status  # noqa: PLC0415 - for start-up

    return status(names(options), access(options))


COMMAND = Command("status", "show how deployed functions are", EXAMPLE, add_arguments, run)
