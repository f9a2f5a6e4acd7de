"""``millrace dead-letters``: what could not be handled, and sending it back."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from .command import Command, at_least, command_of
from .progress import Progress
from .queue_options import add_json, add_url, address, opened, settings
from .table import counted, moment, print_table

if TYPE_CHECKING:
    from ...queues.base import Queue
    from ..doors.letters import Letter, Outcome

REASON_CHARACTERS = 100
EXAMPLE = """\
  millrace dead-letters list log:///var/lib/millrace/orders-dead
  millrace dead-letters replay log:///var/lib/millrace/orders-dead
"""
LIST_EXAMPLE = """\
  millrace dead-letters list log:///var/lib/millrace/orders-dead --only step=enrich
  millrace dead-letters list log:///var/lib/millrace/orders-dead --json | jq .reason
"""
REPLAY_EXAMPLE = """\
  millrace dead-letters replay log:///var/lib/millrace/orders-dead
  millrace dead-letters replay kafka://localhost:9092/orders-dead --only step=enrich --only reason=timeout
"""
GROUP_HELP = "the group that remembers what was sent back (default: millrace-replay)"


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_url(parser)
    parser.add_argument("--only", action="append", default=[], metavar="FILTER",
        help="step=NAME, or reason=TEXT in the error's type or text; both: letters that meet both")  # fmt: skip
    parser.add_argument("--group", default="millrace-replay", metavar="NAME", help=GROUP_HELP)


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Which letters."""
    _add_common(parser)
    parser.add_argument("--all", action="store_true", help="also those that were sent back already")
    parser.add_argument("-n", "--last", type=at_least(1), metavar="N", help="only the newest N")
    add_json(parser, "a line for each letter")


def list_letters(options: argparse.Namespace) -> int:
    """Print a table of the letters, oldest first."""
    import asyncio  # noqa: PLC0415 - for start-up

    found, replayed = asyncio.run(_listed(options))
    if options.json:
        for letter in found:
            print(json.dumps(_plain(letter)))
        return 0
    if found:
        print_table(("time", "origin", "at", "step", "attempts", "reason"), [_row(letter) for letter in found])
    hidden = f", {replayed:,} more were sent back (--all shows them)" if replayed and not options.all else ""
    print(f"{counted(len(found), 'dead letter')}{hidden}", file=sys.stderr)
    return 0


async def _listed(options: argparse.Namespace) -> tuple[list[Letter], int]:
    """The letters to show, and how many others were sent back already."""
    from ..doors.letters import Only, letters  # noqa: PLC0415 - for start-up

    only = Only.parse(options.only)
    async with await opened(options) as queue:
        taken = [one async for one in letters(queue, group=options.group) if one.origin and only.takes(one)]
    shown = [one for one in taken if options.all or not one.is_replayed]
    shown.sort(key=lambda letter: (letter.message.timestamp, letter.message.partition, letter.message.offset))
    return shown[-options.last :] if options.last else shown, sum(one.is_replayed for one in taken)


def _row(letter: Letter) -> tuple[object, ...]:
    reason = letter.reason
    if len(reason) > REASON_CHARACTERS:
        reason = f"{reason[: REASON_CHARACTERS - 1]}…"
    when = moment(letter.message.timestamp)
    return when, letter.origin, letter.origin_place, letter.step or "-", letter.attempts, reason


def _plain(letter: Letter) -> dict[str, Any]:
    message = letter.message
    return {
        "timestamp": message.timestamp,
        "partition": message.partition,
        "offset": message.offset,
        "origin": letter.origin,
        "origin_place": letter.origin_place,
        "step": letter.step,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "is_replayed": letter.is_replayed,
        "value": message.value.decode(errors="backslashreplace"),
    }


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    """Which letters, and where to."""
    _add_common(parser)
    parser.add_argument("--to", metavar="URL", type=address,
        help="send all of them to this topic, which exists (default: their origins)")  # fmt: skip


def replay(options: argparse.Namespace) -> int:
    """Send letters back, and say how many."""
    import asyncio  # noqa: PLC0415 - for start-up

    outcome = asyncio.run(_replayed(options))
    print(f"{counted(outcome.replayed, 'dead letter')} sent back{f' to {options.to}' if options.to else ''}")
    if outcome.kept:
        print(f"{outcome.kept:,} stay, as they are not what --only says")
    if outcome.foreign:
        print(f"left there: {counted(outcome.foreign, 'message')} without a dead letter's headers")
    return 0


async def _replayed(options: argparse.Namespace) -> Outcome:
    from ...queues.address import queue_at  # noqa: PLC0415 - for start-up
    from ..doors.letters import Only, Replay  # noqa: PLC0415

    def origin(url: str) -> Queue:
        return queue_at(url, settings(options, url))

    only = Only.parse(options.only)
    async with await opened(options) as queue:
        waiting = sum((await queue.lag(options.group)).values())
        sending = Replay(queue, origin, group=options.group, only=only, to=options.to)
        with Progress("dead letters sent back", total=waiting) as progress:
            return await sending.run(progress)


LIST_PURPOSE = "time, origin, step, attempts and reason of each"
REPLAY_PURPOSE = "send them back to their origins, each once"
COMMAND = command_of(
    "dead-letters",
    "list what could not be handled, and send it back",
    EXAMPLE,
    [
        Command("list", LIST_PURPOSE, LIST_EXAMPLE, add_list_arguments, list_letters),
        Command("replay", REPLAY_PURPOSE, REPLAY_EXAMPLE, add_replay_arguments, replay),
    ],
)
