"""``millrace queue replay``: let a group read again (or pass over) messages, or copy them to another topic."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .command import Command, UsageError
from .progress import Progress
from .queue_options import add_partition, add_url, address, opened, place
from .table import counted, print_table

if TYPE_CHECKING:
    from ...queues.base import Queue

EXAMPLE = """\
  millrace queue replay log:///var/lib/millrace/orders --group bills --from 2026-01-31T09:30
  millrace queue replay kafka://localhost:9092/orders --group bills --from latest      pass over what is there
  millrace queue replay log:///var/lib/millrace/orders --copy-to log:///tmp/some --from 120 --until 180 --partition 0
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to replay, and to whom."""
    add_url(parser)
    to = parser.add_mutually_exclusive_group(required=True)
    to.add_argument("--group", metavar="NAME", help="set the place of this group, which should have no members now")
    to.add_argument("--copy-to", metavar="URL", type=address, help="append the messages to this topic, which exists")
    parser.add_argument("--from", type=place, dest="start", metavar="PLACE", required=True,
        help="earliest, latest, an offset, a time (2026-01-31T09:30) or an age (15m)")  # fmt: skip
    parser.add_argument("--until", type=place, metavar="PLACE",
        help="with --copy-to: the first that is not copied (default: latest)")  # fmt: skip
    add_partition(parser)
    parser.add_argument("--force", action="store_true", help="with --group: also when it has live members")


def run(options: argparse.Namespace) -> int:
    """Set the place, or copy."""
    import asyncio  # noqa: PLC0415 - for start-up

    if options.group is not None and options.until is not None:
        raise UsageError("--until goes with --copy-to: a group reads on to the end")
    if options.copy_to is not None and options.force:
        raise UsageError("--force goes with --group: copying disturbs no members")
    asyncio.run(_set_place(options) if options.group is not None else _copy(options))
    return 0


async def _set_place(options: argparse.Namespace) -> None:
    from ...queues import places, tools  # noqa: PLC0415 - for start-up

    async with await opened(options) as queue:
        partitions = places.chosen(queue, options.partition)
        offsets = await places.offsets_at(queue, options.start, partitions)
        before = await tools.set_place(queue, options.group, offsets, force=options.force)
        lag = await queue.lag(options.group)
    if not any(before.values()):
        print(f"group '{options.group}' had no place in {options.url} yet")
    rows = [
        (number, "-" if (was := before[number]) is None else was.watermark, offset, lag[number])
        for number, offset in offsets.items()
    ]
    print_table(("partition", "was at", "is at", "lag"), rows)


async def _copy(options: argparse.Namespace) -> None:
    async with await opened(options) as queue, await opened(options, options.copy_to) as target:
        print(f"{counted(await _copied(queue, target, options), 'message')} copied to {options.copy_to}")


async def _copied(queue: Queue, target: Queue, options: argparse.Namespace) -> int:
    from ...queues import places, tools  # noqa: PLC0415 - for start-up

    partitions = places.chosen(queue, options.partition)
    first = await places.offsets_at(queue, options.start, partitions)
    last = await places.offsets_at(queue, options.until or places.Place("latest"), partitions)
    with Progress("messages copied", total=places.count(first, last)) as progress:
        return await tools.copy(queue, target, first, last, progress=progress)


REPLAY = Command("replay", "set the place of a group, or copy messages to another topic", EXAMPLE, add_arguments, run)
