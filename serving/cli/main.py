"""``millrace``: reads the command line, runs one command, and turns what goes wrong into one line."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from ... import __version__
from ...errors import MillraceError, UntrustedPickle, near
from .command import Command, Parser, UsageError

COMMANDS = (
    "serve", "up", "test", "plot", "validate", "export", "new", "deploy", "status", "logs", "invoke", "undeploy",
    "queue", "dead-letters",
)  # fmt: skip
"""In the order of the help."""
PURPOSE = "Serving graphs: write a graph of Python steps once; test it, draw it, and serve it over HTTP."
EXAMPLE = """\
a first project:
  millrace new hello            write it
  millrace test hello/function.py --body '...'
  millrace serve hello/function.py

`millrace COMMAND --help` shows the options of a command, with an example."""


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 1 for an error, 2 for a wrong command line, 130 for Ctrl-C.

    :param argv: the arguments; default: those of the process

    >>> run(["--version"])
    millrace 0.1.0
    0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = _parsed(arguments)
    except UsageError as error:
        _say(str(error))
        return 2
    except SystemExit:  # argparse has printed --help or --version
        return 0
    return _run(_command(options.command), options)


def _command(name: str) -> Command:
    """The command of a name; each is a module of this package."""
    command: Command = importlib.import_module(f".{name.replace('-', '_')}", __package__).COMMAND
    return command


def _run(command: Command, options: argparse.Namespace) -> int:
    try:
        return command.run(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who reads our output went away (`| head`); without this Python complains again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UsageError as error:
        _say(str(error))
        return 2
    except Exception as error:  # the last place: whatever it is, it is told in one line
        _report(error, verbose=options.verbose)
        return 1


def _report(error: Exception, *, verbose: bool) -> None:
    if verbose:
        import traceback  # noqa: PLC0415 - for start-up: only when something broke

        traceback.print_exception(error)
    if isinstance(error, MillraceError):
        _say(str(error))
    elif isinstance(error, OSError) and error.filename is not None:
        _say(f"'{error.filename}': {(error.strerror or str(error)).lower()}")
    else:
        _say(f"{type(error).__name__}: {error}" + ("" if verbose else " (--verbose shows where)"))
    for note in getattr(error, "__notes__", ()):
        _say(note)
    if isinstance(error, UntrustedPickle):
        _say("on the command line that is --trusted")


def _say(text: str) -> None:
    """One line on stderr."""
    print(f"millrace: {' '.join(text.split())}", file=sys.stderr, flush=True)


def _parsed(arguments: list[str]) -> argparse.Namespace:
    if arguments and arguments[0] == "--verbose":
        arguments = [*arguments[1:], "--verbose"]
    first = arguments[0] if arguments else "--help"
    # All others need not be loaded to run one.
    parser, parsers = _parser([first] if first in COMMANDS else COMMANDS)
    if not arguments:
        parser.print_help()
        raise SystemExit(0)
    if not first.startswith("-") and first not in COMMANDS:
        hint = near(first, COMMANDS) or f"; there are {', '.join(COMMANDS)}"
        parser.error(f"there is no command '{first}'{hint}")
    options, unknown = parser.parse_known_args(arguments)
    if options.command is None:
        parser.error("say which command")
    if unknown:
        parsers[options.command].refuse(unknown)
    return options


def _parser(names: Sequence[str]) -> tuple[Parser, dict[str, Parser]]:
    width = argparse.RawDescriptionHelpFormatter
    parser = Parser("millrace", description=PURPOSE, epilog=EXAMPLE, formatter_class=width, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"millrace {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", parser_class=Parser)
    parsers = {}
    for command in map(_command, names):
        one = commands.add_parser(
            command.name, help=command.purpose, description=f"{command.purpose[0].upper()}{command.purpose[1:]}.",
            epilog=f"example:\n{command.example}", formatter_class=width, allow_abbrev=False,
        )  # fmt: skip
        command.add_arguments(one)
        one.add_argument("--verbose", action="store_true", help="show tracebacks")
        parsers[command.name] = one
    return parser, parsers
