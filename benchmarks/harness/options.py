"""The command line that all benchmarks share."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from .results import Results, print_footer


@dataclass(frozen=True)
class Options:
    """How long, with whom, and where to."""

    is_quick: bool
    rounds: int
    json_file: str
    only: tuple[str, ...]
    may_install: bool

    def takes(self, subject: str) -> bool:
        """Whether `--only` leaves `subject` in (Millrace always stays: it is what the others are compared with)."""
        return not self.only or subject.startswith("millrace") or any(part in subject for part in self.only)


def read_options(description: str | None, *, rounds: int, quick_rounds: int = 3) -> Options:
    """Parse the command line of a benchmark script."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few, short rounds; installs no peers, skips absent ones")
    parser.add_argument("--rounds", type=int, help=f"default {rounds}, with --quick {quick_rounds}")
    parser.add_argument("--json", metavar="FILE", default="", help="save every value of every round here")
    parser.add_argument("--only", metavar="A,B", default="", help="only the peers whose name contains A or B")
    parser.add_argument("--install", action=argparse.BooleanOptionalAction, help="make missing peer environments")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # like an interrupt: stop what was started, then end
    return Options(
        is_quick=given.quick,
        rounds=given.rounds or (quick_rounds if given.quick else rounds),
        json_file=given.json,
        only=tuple(part for part in given.only.split(",") if part),
        may_install=not given.quick if given.install is None else given.install,
    )


def finish(results: Results, options: Options, *, required: Sequence[str]) -> None:
    """Footer and JSON file; exit status 1 when one of our own, `required`, could not be measured."""
    print_footer(results)
    if options.json_file:
        results.save(options.json_file)
    sys.exit(1 if any(name in results.absent for name in required) else 0)
