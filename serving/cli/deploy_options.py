"""What the commands on deployed functions have in common: which dashboard, and which functions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .command import UsageError

if TYPE_CHECKING:
    from ..deploy.dashboard_access import DashboardAccess

CODE = (".py", ".ipynb", ".yaml", ".yml")
TARGET = "FILE[:NAME] | DEPLOYED"
TARGET_HELP = "the file that makes the function, or the name of a deployed function, as `millrace deploy` prints it"


def add_dashboard(parser: argparse.ArgumentParser) -> None:
    """Add where the dashboard is, and who asks."""
    add = parser.add_argument
    add("--dashboard", metavar="URL",
        help="the Nuclio dashboard (default: NUCLIO_DASHBOARD_URL, dashboard.url in ~/.config/millrace/config.yaml, "
             "http://localhost:8070)")  # fmt: skip
    add("--user", metavar="NAME",
        help="user of the dashboard; the password is read from NUCLIO_DASHBOARD_PASSWORD or the configuration file")
    add("--namespace", metavar="NAME", help="where functions are (default: the dashboard's own namespace)")


def add_functions(parser: argparse.ArgumentParser) -> None:
    """Add the functions that are meant, and where they are."""
    parser.add_argument("target", metavar=TARGET, help=TARGET_HELP)
    parser.add_argument("--trusted", action="store_true", help="unpickle the objects in a .yaml file, which runs code")
    parser.add_argument("--project", metavar="NAME", help="as given to deploy (default: the one in the file)")
    parser.add_argument("--tag", help="as given to deploy (default: the one in the file)")
    add_dashboard(parser)


def access(options: argparse.Namespace) -> DashboardAccess:
    """The dashboard that the options, the environment or the configuration file name."""
    from ..functions.deployment import access_of  # noqa: PLC0415 - for start-up

    return access_of(options.dashboard, username=options.user, namespace=options.namespace)


def names(options: argparse.Namespace) -> tuple[str, ...]:
    """The names in Nuclio of the functions that are meant, children first."""
    filename = options.target.rpartition(":")[0] or options.target
    if not any(name.endswith(CODE) or Path(name).is_file() for name in (options.target, filename)):
        if options.project or options.tag:
            raise UsageError(f"'{options.target}' is no file, and --project and --tag are for files; give a whole name")
        return (options.target,)
    from ..functions.deployment import names_of  # noqa: PLC0415 - for start-up
    from .target import load  # noqa: PLC0415

    function, _ = load(options.target, trusted=options.trusted)
    function.metadata.project = options.project or function.metadata.project
    function.metadata.tag = options.tag or function.metadata.tag
    return names_of(function)
