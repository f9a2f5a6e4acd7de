"""``millrace invoke``: one request to a deployed function."""

from __future__ import annotations

import argparse
import mimetypes
import sys
from pathlib import Path

from .command import Command, UsageError, seconds
from .deploy_options import access, add_functions, names

EXAMPLE = """\
  millrace invoke function.py /v2/models/m1/infer --body '{"inputs": [[5.1, 3.5, 1.4, 0.2]]}'
  millrace invoke fraud-scores --body-file event.json --direct
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which function, and the request."""
    add_functions(parser)
    add = parser.add_argument
    add("path", metavar="PATH", nargs="?", default="/", help="path of the request (default: /)")
    body = parser.add_mutually_exclusive_group()
    body.add_argument("--body", metavar="JSON", help="the body")
    body.add_argument("--body-file", metavar="FILE", help="a file with the body; - is the standard input")
    add("--method", help="HTTP method (default: POST with a body, GET without)")
    add("--header", action="append", default=[], metavar="K:V",
        help="a header, such as another content type than the file's name says")  # fmt: skip
    add("--direct", action="store_true", help="ask the function's external address, not through the dashboard")
    add("--timeout-seconds", type=seconds, default=60.0, metavar="S", help="how long to wait (default: 60)")


def run(options: argparse.Namespace) -> int:
    """Ask, print the answer, and return 0; an error answer is raised."""
    from ..engine.messages import dumps  # noqa: PLC0415 - for start-up
    from ..functions.deployment import ask  # noqa: PLC0415

    body, content_type = _body(options)
    headers = dict(_header(one) for one in options.header)
    if content_type and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = content_type
    via = "external" if options.direct else "dashboard"
    answer = ask(names(options)[-1], access(options), options.path, body, options.method, headers, via=via,
                 timeout_seconds=options.timeout_seconds)  # fmt: skip
    if isinstance(answer, bytes):
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
    else:
        print(answer if isinstance(answer, str) else dumps(answer).decode(), flush=True)
    return 0


def _body(options: argparse.Namespace) -> tuple[bytes | None, str | None]:
    """The body and its content type, if that is known."""
    if options.body_file == "-":
        return sys.stdin.buffer.read(), None
    if options.body_file is not None:
        return Path(options.body_file).read_bytes(), mimetypes.guess_type(options.body_file)[0]
    return (options.body.encode(), "application/json") if options.body is not None else (None, None)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"--header '{text}' is no header; write it as 'name: value'")
    return name.strip(), value.strip()


COMMAND = Command("invoke", "send one request to a deployed function", EXAMPLE, add_arguments, run)
