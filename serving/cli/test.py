"""``millrace test``: one request to a function in this process, without a port."""

from __future__ import annotations

import argparse
import mimetypes
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import MillraceError
from .command import Command, UsageError, add_target, at_least
from .table import counted
from .target import load

if TYPE_CHECKING:
    from ..doors.mock import MockServer

EXAMPLE = """\
  millrace test function.py /v2/models/m1/infer --body '{"inputs": [[5.1, 3.5, 1.4, 0.2]]}'
  millrace test function.py --body-file picture.png --header 'x-user: me'
  echo '{"text": "hello"}' | millrace test function.py / - --repeat 1000
"""
STDIN = "-"
JSON = "application/json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The request."""
    add = parser.add_argument
    add_target(parser)
    add("path", metavar="PATH", nargs="?", default="/", help="path of the request (default: /)")
    add("stdin", metavar="-", nargs="?", choices=(STDIN,), help="read the body from the standard input")
    body = parser.add_mutually_exclusive_group()
    body.add_argument("--body", metavar="JSON", help="the body")
    body.add_argument("--body-file", metavar="FILE", help="a file with the body; - is the standard input")
    add("--method", default="", help="HTTP method (default: POST with a body, GET without)")
    add("--header", action="append", default=[], metavar="K:V", help="a header; may be given several times")
    add("--content-type", help="of the body (default: JSON for --body, by the file's name for --body-file)")
    add("--wait", action="store_true", help="also wait for the steps behind the answer, and fail if one of them does")
    add("--repeat", type=at_least(1), default=1, metavar="N", help="ask N times and print how long an answer took")


def run(options: argparse.Namespace) -> int:
    """Ask, print the answer as JSON, and return 0; an error answer is raised."""
    from ..functions.logs import set_up_logging  # noqa: PLC0415 - for start-up

    body, content_type = _body(options)
    request = {
        "path": "/" if options.path == STDIN else options.path,
        "body": body,
        "method": options.method.upper(),
        "headers": dict(_header(one) for one in options.header),
        "content_type": content_type,
    }
    set_up_logging(verbose=options.verbose)
    function, sources = load(options.target, trusted=options.trusted)
    function.spec.load_mode = "sync"  # a model that still loads would refuse the one request there is
    server = function.to_mock_server(namespace=sources, verbose=options.verbose)
    try:
        _ask(server, request, options.repeat)
        if options.wait:
            _wait(server)
    finally:
        server.close()
    return 0


def _body(options: argparse.Namespace) -> tuple[Any, str | None]:
    """The body and its content type."""
    from_stdin = STDIN in (options.path, options.stdin, options.body, options.body_file)
    if (options.path == STDIN or options.stdin) and (options.body or options.body_file):
        raise UsageError("give the body once: - or --body or --body-file")
    if from_stdin:
        return sys.stdin.buffer.read(), options.content_type
    if options.body_file is not None:
        guessed = mimetypes.guess_type(options.body_file)[0]
        return Path(options.body_file).read_bytes(), options.content_type or guessed
    if options.body is not None:
        return options.body, options.content_type or JSON
    return None, options.content_type


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"--header '{text}' is no header; write it as 'name: value'")
    return name.strip(), value.strip()


# -- the answer ------------------------------------------------------------------------------------------------------


def _ask(server: MockServer, request: dict[str, Any], times: int) -> None:
    taken = []
    for count in range(1, times + 1):
        begin = time.perf_counter()
        answer = server.test(**request)
        chunks: Iterator[Any] | None = answer if isinstance(answer, Iterator) else None
        if count < times:
            for _ in chunks or ():
                pass
        elif chunks is not None:
            for chunk in chunks:
                _print(chunk)
        taken.append(time.perf_counter() - begin)
        if count == times and chunks is None:
            _print(answer)
    if times > 1:
        _print_times(taken)


def _print(answer: Any) -> None:
    """One answer or chunk: a line of JSON, but bytes as they are."""
    from ..engine.messages import dumps  # noqa: PLC0415 - for start-up

    if isinstance(answer, (bytes, bytearray, memoryview)):
        sys.stdout.flush()
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
        return
    try:
        text = dumps(answer).decode()
    except TypeError as error:
        raise MillraceError(f"the answer is not JSON: {error}; let the last step return what JSON can say") from error
    print(text, flush=True)


def _print_times(taken: list[float]) -> None:
    # Nearest rank: the shortest time that at least that share of the answers did not exceed.
    ordered = sorted(taken)
    p50, p99 = (ordered[-(-len(ordered) * share // 100) - 1] * 1e3 for share in (50, 99))
    rate = len(taken) / sum(taken)
    print(f"{len(taken)} answers: p50 {p50:.3g} ms, p99 {p99:.3g} ms, {rate:,.0f} a second", file=sys.stderr)


def _wait(server: MockServer) -> None:
    try:
        server.wait_for_completion(raise_errors=True)
    except ExceptionGroup as group:
        first = group.exceptions[0]
        for other in group.exceptions[1:]:
            first.add_note(f"also: {other}")
        raise first
    for name, queue in server.queues.items():
        print(f"queue {name}: {counted(len(queue.messages), 'message')}", file=sys.stderr)


COMMAND = Command("test", "send one request to a function's graph in this process", EXAMPLE, add_arguments, run)
