"""``millrace queue purge``: delete messages."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .command import Command, UsageError
from .queue_options import add_partition, add_url, opened, place
from .table import counted

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


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be deleted.

    :param before: the first offset that stays, of each partition
    :param going: how many messages that are
    :param unread: how many of them a group has not done
    """

    before: dict[int, int]
    going: int
    unread: dict[str, int]


def run(options: argparse.Namespace) -> int:
    """Ask and delete."""
    import asyncio  # noqa: PLC0415 - for start-up

    if not options.yes and not sys.stdin.isatty():
        raise UsageError("purge deletes messages for good and asks first, and there is nobody to ask: say --yes")
    plan = asyncio.run(_planned(options))
    if not plan.going:
        print("there is nothing to delete")
        return 0
    # Asked outside the loop, which would keep Ctrl-C from ending the question. What was counted is what is deleted.
    if not options.yes and not _is_confirmed(plan, options.url):
        print("nothing was deleted")
        return 1
    print(f"{counted(asyncio.run(_trimmed(options, plan)), 'message')} deleted from {options.url}")
    return 0


async def _planned(options: argparse.Namespace) -> Plan:
    from ...queues import places  # noqa: PLC0415 - for start-up

    async with await opened(options) as queue:
        partitions = places.chosen(queue, options.partition)
        begin = await queue.begin_offsets()
        before = await places.offsets_at(queue, options.before or places.Place("latest"), partitions)
        going = places.count({partition: begin[partition] for partition in partitions}, before)
        return Plan(before, going, {} if options.yes else await _unread(queue, before))


async def _trimmed(options: argparse.Namespace, plan: Plan) -> int:
    async with await opened(options) as queue:
        return await queue.trim(plan.before)


def _is_confirmed(plan: Plan, url: str) -> bool:
    for group, unread in plan.unread.items():
        print(f"group '{group}' has not done {unread:,} of them")
    return input(f"delete {plan.going:,} messages of {url}? [y/N] ").lower() in ("y", "yes")


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
