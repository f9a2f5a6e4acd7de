"""``millrace queue purge``: delete messages."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .command import Command, UsageError
from .queue_options import add_partition, add_url, opened, place

if TYPE_CHECKING:
    from ...queues.base import Queue

EXAMPLE = """\
  millrace queue purge log:///var/lib/millrace/orders                      all messages
  millrace queue purge kafka://localhost:9092/orders --before 7d --yes     those older than a week, without asking
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to delete."""
    add_url(parser)
    parser.add_argument("--before", type=place, metavar="PLACE",
        help="the first that stays: an offset, a time (2026-01-31T09:30) or an age (7d); default: none")  # fmt: skip
    add_partition(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace) -> int:
    """Ask and delete."""
    import asyncio  # noqa: PLC0415 - for start-up

    if not options.yes and not sys.stdin.isatty():
        raise UsageError("purge deletes messages for good and asks first, and there is nobody to ask: say --yes")
    return asyncio.run(_purge(options))


async def _purge(options: argparse.Namespace) -> int:
    from ...queues import places  # noqa: PLC0415 - for start-up

    async with await opened(options) as queue:
        partitions = places.chosen(queue, options.partition)
        begin = await queue.begin_offsets()
        before = await places.offsets_at(queue, options.before or places.Place("latest"), partitions)
        going = places.count({partition: begin[partition] for partition in partitions}, before)
        if not going:
            print("there is nothing to delete")
            return 0
        if not options.yes and not await _is_confirmed(queue, before, going):
            print("nothing was deleted")
            return 1
        print(f"{await queue.trim(before):,} messages deleted from {options.url}")
    return 0


async def _is_confirmed(queue: Queue, before: dict[int, int], going: int) -> bool:
    import asyncio  # noqa: PLC0415 - for start-up

    for group, unread in (await _unread(queue, before)).items():
        print(f"group '{group}' has not done {unread:,} of them")
    return (await asyncio.to_thread(input, f"delete {going:,} messages of {queue.url}? [y/N] ")).lower() in ("y", "yes")


async def _unread(queue: Queue, before: dict[int, int]) -> dict[str, int]:
    """How many of the messages to be deleted each group has not done."""
    from ...queues.tools import describe  # noqa: PLC0415 - for start-up

    state = await describe(queue)
    begin = {one.partition: one.begin for one in state.partitions}
    found = {}
    for group in state.groups or ():
        count = 0
        for partition, end in before.items():
            commit = group.commits.get(partition)
            at = begin[partition] if commit is None else max(begin[partition], commit.watermark)
            done = 0 if commit is None else sum(at <= offset < end for offset in commit.done)
            count += max(0, end - at - done)
        if count:
            found[group.group] = count
    return found


PURGE = Command("purge", "delete messages, all or up to a place", EXAMPLE, add_arguments, run)
