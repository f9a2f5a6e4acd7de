"""``millrace serve``: a function over HTTP."""

from __future__ import annotations

import argparse

from .command import Command, add_target, at_least, port, seconds

EXAMPLE = """\
  millrace serve function.py --port 8080 --workers 4
  curl localhost:8080/v2/models/m1/infer -d '{"inputs": [[5.1, 3.5, 1.4, 0.2]]}'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the server."""
    add = parser.add_argument
    add_target(parser)
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all (default: %(default)s)")
    add("--port", type=port,
        help="port to listen on; 0 takes a free one (default: that of its http trigger, or 8080)")  # fmt: skip
    add("--workers", type=at_least(1), default=1, metavar="N", help="processes that share the port (default: 1)")
    add("--max-in-flight", type=at_least(1), metavar="N",
        help="events that a worker takes at a time; more get 429 (default: the graph's, or 1000)")  # fmt: skip
    add("--max-body-bytes", type=at_least(1), default=64 * 1024 * 1024, metavar="BYTES",
        help="longest body; more gets 413 (default: %(default)s)")  # fmt: skip
    add("--request-timeout-seconds", type=seconds, default=60.0, metavar="SECONDS",
        help="longest time for an answer; then it is 504 (default: %(default)g)")  # fmt: skip
    add("--drain-seconds", type=seconds, default=30.0, metavar="SECONDS",
        help="time for the events inside when the server is told to stop (default: %(default)g)")  # fmt: skip
    add("--function", default="*", metavar="NAME",
        help="run only the steps of this child function; '' is the parent (default: all in one)")  # fmt: skip
    add("--streams", metavar="DIR",
        help="folder of the queues without an address, as embedded logs (default: they are in memory)")  # fmt: skip
    add("--access-log", action="store_true", help="a line for every request")


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from ..functions.serving import serve  # noqa: PLC0415 - for start-up

    return serve(
        options.target, host=options.host, port=options.port, workers=options.workers,
        max_in_flight=options.max_in_flight, max_body_bytes=options.max_body_bytes,
        request_timeout_seconds=options.request_timeout_seconds, drain_seconds=options.drain_seconds,
        access_log=options.access_log, verbose=options.verbose,
        trusted=options.trusted, current_function=options.function, streams=options.streams,
    )  # fmt: skip


COMMAND = Command("serve", "answer HTTP requests with a function's graph", EXAMPLE, add_arguments, run)
