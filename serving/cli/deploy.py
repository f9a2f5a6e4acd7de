"""``millrace deploy``: a function and its children as Nuclio functions."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .command import Command, UsageError, add_target, seconds
from .deploy_options import access, add_dashboard
from .target import load

if TYPE_CHECKING:
    from ..deploy.deployer_function import Deployed

EXAMPLE = """\
  millrace deploy function.py --project fraud --dashboard http://nuclio.example.com:8070
  millrace deploy function.py --project fraud --via nuctl --env LEVEL=debug
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to deploy, where, and how long to wait."""
    add = parser.add_argument
    add_target(parser)
    add("--project", metavar="NAME", help="made where it is missing (default: the one in the file, else 'default')")
    add("--tag", help="part of the functions' names, to deploy several versions")
    add_dashboard(parser)
    add("--via", choices=("dashboard", "nuctl"), default="dashboard",
        help="how: the dashboard's REST API, or the program nuctl (default: dashboard)")  # fmt: skip
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="an environment variable; may be given again")
    add("--streams", metavar="URL", help="where queues without an address are: kafka://broker:9092")
    add("--secret", metavar="NAME", help="the Kubernetes Secret of all secrets that refer to none")
    add("--python", metavar="3.N", help="the image's Python version (default: this one)")
    add("--wheel", metavar="FILE", help="a wheel file to install Millrace from")
    add("--pickle", action="store_true", help="write objects that have no name as pickles")
    add("--force", action="store_true", help="also deploy what has not changed")
    add("--timeout-seconds", type=seconds, default=900.0, metavar="S",
        help="how long one function may take to be ready (default: 900)")  # fmt: skip
    add("--poll-seconds", type=seconds, default=1.0, metavar="S", help="how often to look (default: 1)")


def run(options: argparse.Namespace) -> int:
    """Deploy, and print each function with its address."""
    from ..deploy.deployer_function import DeployOptions  # noqa: PLC0415 - for start-up
    from ..functions.deployment import deploy_units, deployables  # noqa: PLC0415

    function, _ = load(options.target, trusted=options.trusted)
    function.metadata.project = options.project or function.metadata.project
    function.metadata.tag = options.tag or function.metadata.tag
    units = deployables(
        function, env=dict(_variable(one) for one in options.env), pickle=options.pickle, python=options.python,
        streams=options.streams, secret=options.secret, wheel=options.wheel,
    )  # fmt: skip
    settings = DeployOptions(is_forced=options.force, timeout_seconds=options.timeout_seconds,
                             poll_seconds=options.poll_seconds)  # fmt: skip
    is_detailed = options.verbose or sys.stderr.isatty()
    done = deploy_units(function, units, access(options), via=options.via, options=settings, is_detailed=is_detailed)
    for one in done:
        print(told(one))
    return 0


def told(one: Deployed) -> str:
    """A function on one line: name, what became of it, address."""
    return "  ".join(part for part in (one.name, one.change or one.state, one.address) if part)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--env '{text}' is no variable; write it as NAME=VALUE")
    return name, value


COMMAND = Command("deploy", "deploy a function and its children to Nuclio", EXAMPLE, add_arguments, run)
