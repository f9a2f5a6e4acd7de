"""What every command of the command line is made of."""

from __future__ import annotations

import argparse
import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ...errors import MillraceError, near

TARGET = "FILE[:NAME]"
TARGET_HELP = "a .py, .ipynb or .yaml file; NAME is the function in it, where it makes several"


class UsageError(MillraceError):
    """The command line can not be understood."""


@dataclass(frozen=True)
class Command:
    """One command.

    :param purpose: one line that says what it is for
    :param example: command lines to copy
    :param add_arguments: adds its arguments to a parser
    :param run: does it, and returns the exit code
    """

    name: str
    purpose: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are exceptions, with near names for what is misspelt."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line."""
        raise UsageError(f"{message} (`{self.prog} --help` shows how)")

    def refuse(self, unknown: list[str]) -> NoReturn:
        """Say which arguments no option takes."""
        first = unknown[0].split("=")[0]
        known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        hint = near(first, known) if difflib.get_close_matches(first, known, cutoff=0.6) else ""
        what = "has no option" if first.startswith("-") else "does not take the argument"
        self.error(f"`{self.prog}` {what} '{first}'{hint}")


class ActionParser(Parser):
    """The parser of an action, which says itself what it does not know."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse all arguments, or refuse them."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.refuse(unknown)
        return found, unknown


def command_of(name: str, purpose: str, example: str, actions: Sequence[Command]) -> Command:
    """A command that has several actions: ``millrace NAME ACTION …``."""
    known = {action.name: action for action in actions}

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        title = f"`{parser.prog} ACTION --help` shows the options of an action"
        parsers = parser.add_subparsers(
            title="actions", description=title, dest="action", metavar="ACTION", parser_class=ActionParser
        )
        for action in actions:
            one = parsers.add_parser(
                action.name, help=action.purpose, description=f"{action.purpose[0].upper()}{action.purpose[1:]}.",
                epilog=f"example:\n{action.example}", formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )  # fmt: skip
            action.add_arguments(one)
            one.add_argument("--verbose", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")

    def run(options: argparse.Namespace) -> int:
        if options.action is None:
            raise UsageError(f"say what to do: {', '.join(known)} (`millrace {name} --help` shows how)")
        return known[options.action].run(options)

    return Command(name, purpose, example, add_arguments, run)


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the file with the function, and whether its pickles may be read."""
    parser.add_argument("target", metavar=TARGET, help=TARGET_HELP)
    parser.add_argument("--trusted", action="store_true", help="unpickle the objects in a .yaml file, which runs code")


def at_least(least: int) -> Callable[[str], int]:
    """The type of options that are whole numbers from `least` on.

    >>> at_least(1)("8")
    8
    """

    def number(text: str) -> int:
        try:
            value = int(text.replace("_", ""))
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"'{text}' is no whole number from {least} on")
        return value

    return number


def port(text: str) -> int:
    """The type of a TCP port; 0 takes a free one."""
    value = at_least(0)(text)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port; they end at 65535")
    return value


def seconds(text: str) -> float:
    """The type of options that are times, in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is no time in seconds")
    return value
