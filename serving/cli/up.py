"""``millrace up``: a function and its child functions as processes joined by streams."""

from __future__ import annotations

import argparse

from .command import Command, UsageError, add_target, port, seconds

EXAMPLE = """\
  millrace up function.py --replicas enrich=3
  millrace queue list .millrace/streams
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What runs, how often, and where its streams are."""
    add = parser.add_argument
    add_target(parser)
    add("--replicas", action="append", default=[], metavar="CHILD=N",
        help="processes of a child function (default: 1); can be repeated")  # fmt: skip
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all (default: %(default)s)")
    add("--port", type=port,
        help="port of the parent; 0 takes a free one (default: that of its http trigger, or 8080)")  # fmt: skip
    add("--streams", metavar="DIR", help="folder of the queues without an address (default: .millrace/streams)")
    add("--status-seconds", type=seconds, default=10.0, metavar="SECONDS",
        help="how often the table is printed when it has changed; 0 is never (default: %(default)g)")  # fmt: skip
    add("--drain-seconds", type=seconds, default=30.0, metavar="SECONDS",
        help="time for the events inside when told to stop (default: %(default)g)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run until told to stop."""
    from ..functions.up import up  # noqa: PLC0415 - for start-up

    return up(
        options.target, replicas=dict(_replicas(one) for one in options.replicas), host=options.host,
        port=options.port, streams=options.streams, status_seconds=options.status_seconds,
        drain_seconds=options.drain_seconds, trusted=options.trusted, verbose=options.verbose,
    )  # fmt: skip


def _replicas(text: str) -> tuple[str, int]:
    name, separator, count = text.rpartition("=")
    if not separator or not count.isdigit() or int(count) < 1:
        raise UsageError(f"--replicas {text}: say which child function, and how often: --replicas enrich=3")
    return name, int(count)


COMMAND = Command("up", "run a function and its child functions, joined by streams", EXAMPLE, add_arguments, run)
